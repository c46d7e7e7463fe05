"""allograft score and prune, end to end: what is ranked, what is read, what is left out and comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from synthetic_masks import synthetic_pictures_with_masks, synthetic_volumes_with_masks
from tiny_study import private_home, random_card, real_pictures, run, run_json, study_file, synthetic_volumes

from allograft.data.store import Store
from allograft.study.prepared import load_prepared
from allograft.weights.source import file_sha256


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private_home(tmp_path, monkeypatch)


def recipes(card: Path) -> list[dict[str, Any]]:
    donor = {"source": str(card)}
    return [
        {"name": "scratch", "start": "scratch"},
        {"name": "full", "start": "full", **donor},
        {"name": "probe", "start": "full", "tuning": "frozen", **donor},
        {"name": "mean-var", "start": "mean_var", **donor},
    ]


def card_with_head(folder: Path) -> Path:
    """Write a card that keeps a classifier of three classes."""
    path = random_card(folder, 2)
    card = yaml.safe_load(path.read_text())
    file = folder / "random2.safetensors"
    tensors = load_file(file)
    width = max(t.shape[0] for name, t in tensors.items() if t.ndim == 4)
    tensors |= {"fc.weight": torch.randn(3, width), "fc.bias": torch.zeros(3)}
    save_file(tensors, file)
    card["sha256"] = file_sha256(file)
    card["key_map"] = [[r"fc\.(.+)", r"heads.old.\1"], ["(.+)", r"\1"]]
    card["classes"] = {"old": ["x", "y", "z"]}
    path.write_text(yaml.safe_dump(card))
    return path


def starts(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {start["recipes"][0]: start for start in found["tables"][0]["starts"]}


def value(start: Mapping[str, Any], name: str) -> Any:
    return start["values"][name]["value"]


def test_pictures_are_scored_by_every_estimator_and_recipes_of_one_start_share_a_row(tmp_path: Path) -> None:
    data = real_pictures(tmp_path / "data")
    card = card_with_head(tmp_path / "data")
    file = study_file(data, recipes(card))
    found = run_json("score", file)
    rows = starts(found)
    assert set(rows) == {"scratch", "full", "mean-var"}
    assert rows["full"]["recipes"] == ["full", "probe"]
    for name in ("logme", "h_score", "gbc", "knn", "linear_probe"):
        assert np.isfinite([value(row, name) for row in rows.values()]).all()
        assert sorted(row["ranks"][name] for row in rows.values())[0] == 1
    assert value(rows["full"], "leep") <= 0
    assert value(rows["full"], "nce") <= 0
    assert "changes the encoder" in rows["mean-var"]["values"]["leep"]["reason"]
    assert "no source" in rows["scratch"]["values"]["nce"]["reason"]
    assert found["tables"][0]["agreement"] == {}
    assert not list(tmp_path.glob("data/out*"))  # without --out nothing is left behind
    assert "decide" in run("score", file, "--by", "logme").output


def test_a_card_without_classifier_says_so_and_wrong_names_are_refused(tmp_path: Path) -> None:
    data = real_pictures(tmp_path / "data")
    file = study_file(data, recipes(random_card(tmp_path / "data", 2)))
    rows = starts(run_json("score", file, "--by", "leep"))
    assert "drops the classifier" in rows["full"]["values"]["leep"]["reason"]
    assert run("score", file, "--by", "logmee").exit_code != 0
    assert run("score", file, "--fraction", "0.3").exit_code != 0


class Watched:
    """Which images and masks a store is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ids: set[str] = set()
        rows, mask, image = Store.rows, Store.mask, Store.image

        def watched_rows(store: Store, ids: Any) -> Any:
            self.ids |= set(ids)
            return rows(store, ids)

        def watched_mask(store: Store, name: str, *rest: Any) -> Any:
            self.ids.add(name)
            return mask(store, name, *rest)

        def watched_image(store: Store, name: str, *rest: Any) -> Any:
            self.ids.add(name)
            return image(store, name, *rest)

        monkeypatch.setattr(Store, "rows", watched_rows)
        monkeypatch.setattr(Store, "mask", watched_mask)
        monkeypatch.setattr(Store, "image", watched_image)


def test_only_training_cases_are_read_and_only_their_labels_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = random_card(tmp_path / "data", 3)
    data = synthetic_volumes(tmp_path / "data")
    file = study_file(data, recipes(card), label_fractions=[0.5, 1.0])
    watched = Watched(monkeypatch)
    found = run_json("score", file, "--out", tmp_path / "out")
    prepared = load_prepared((tmp_path / "out").resolve())
    (fold,) = prepared.folds["volumes"]
    assert watched.ids <= set(fold.train)
    assert len(watched.ids) == found["tables"][0]["cases"] == 8  # half of 16
    assert found["tables"][0]["blind"]
    whole = run_json("score", file, "--out", tmp_path / "out", "--fraction", "1.0")
    assert whole["tables"][0]["cases"] == 16

    def with_labels_flipped(split: str) -> dict[str, Any]:
        arrays = dict(np.load(data))
        arrays[f"{split}_labels"] = 1 - arrays[f"{split}_labels"]
        if split == "train":
            arrays["train_labels"][::3] = 1 - arrays["train_labels"][::3]
        other = tmp_path / split
        other.mkdir()
        np.savez(other / data.name, **arrays)
        return run_json("score", study_file(other / data.name, recipes(card)), "--by", "logme")

    at_full = {name: value(row, "logme") for name, row in starts(whole).items()}
    same = {name: value(row, "logme") for name, row in starts(with_labels_flipped("test")).items()}
    assert same == pytest.approx(at_full, abs=1e-9)
    assert {n: value(r, "logme") for n, r in starts(with_labels_flipped("train")).items()} != pytest.approx(at_full)


@pytest.mark.parametrize("dims", [2, 3])
def test_segmentations_are_scored_from_voxels_of_training_cases_synthetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dims: int
) -> None:
    folder = tmp_path / "data"
    data = (synthetic_volumes_with_masks if dims == 3 else synthetic_pictures_with_masks)(folder)
    card = random_card(folder, dims)
    file = folder / "study.yaml"
    net = {"encoder": "cbr_tiny", "dims": dims, "width": 0.25, "decoder": "unet"}
    text = {
        "study": "seg",
        "datasets": [{"name": "d", "path": data.name, "image": "image", "mask": "mask", "group": "patient_id"}],
        "baseline": "scratch",
        "folds": 3,
        "test_folds": 1,
        "preprocess": {"intensity": "percentile"},
        "patches": {"size": [16, 32, 32][3 - dims :]},
        "search": {"lrs": []},
        "common": {"net": net, "budget": {"steps": 4, "batch": 2, "evals": 1}, "augment": {"preset": "none"}},
        "recipes": [r for r in recipes(card) if r["name"] != "probe"],
    }
    file.write_text(yaml.safe_dump(text))
    watched = Watched(monkeypatch)
    found = run_json("score", file, "--out", tmp_path / "out", "--by", "cc_fv", "--by", "logme", "--by", "knn")
    rows = starts(found)
    assert np.isfinite([value(row, name) for row in rows.values() for name in ("cc_fv", "logme", "knn")]).all()
    prepared = load_prepared((tmp_path / "out").resolve())
    assert watched.ids <= set(prepared.folds["d"][0].train)
    assert found["tables"][0]["blind"]
    assert run("score", file, "--by", "leep").exit_code != 0


def test_a_pruned_study_says_so_and_taking_prune_out_adds_what_is_missing(tmp_path: Path) -> None:
    data = real_pictures(tmp_path / "data")
    card = random_card(tmp_path / "data", 2)
    arms = [*recipes(card), {"name": "partial", "start": {"partial": {"until": "stage1"}}, "source": str(card)}]
    plain = {"test_folds": 1, "common": {"budget": {"steps": 2, "batch": 4, "evals": 1}}}
    file = study_file(data, arms, prune={"top_k": 1, "order": True, "keep": ["mean-var"]}, **plain)
    out = tmp_path / "out"
    first = run_json("study", file, "--out", out, "--workers", 1)
    pruned = {one["recipe"]: one["reason"] for one in first["pruned"]}
    assert pruned
    assert not {"scratch", "mean-var"} & set(pruned)
    assert all("not run: pruned by LogME rank" in reason for reason in pruned.values())
    assert first["runs"]["finished"] == first["runs"]["planned"] == 5 - len(pruned)
    assert "left out before training" in first["headline"][-1]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Left out before training" in page
    assert next(iter(pruned.values())) in page
    before = {path.name: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert run_json("study", file, "--out", out, "--workers", 1)["pruned"] == first["pruned"]
    state = (out / "study.json").read_text()
    scored = run_json("score", file, "--out", out)
    assert (out / "study.json").read_text() == state  # scoring leaves the study as it was
    assert "fewer than 8" in scored["tables"][0]["agreement"]["logme"]["warning"]
    assert json.loads((out / "scores.json").read_text())["study"] == "tiny"
    whole = run_json("study", study_file(data, arms, **plain), "--out", out, "--workers", 1)
    assert whole["pruned"] == []
    assert whole["runs"]["finished"] == 5
    after = {path.name: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert {name: after[name] for name in before} == before  # re-used, not run again
