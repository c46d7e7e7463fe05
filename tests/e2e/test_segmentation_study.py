"""Segmentation studies from one file, in 2-D and 3-D, on synthetic images with masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from synthetic_masks import synthetic_pictures_with_masks, synthetic_volumes_with_masks
from tiny_study import private_home, run, run_json

from allograft.catalog import parts
from allograft.data.case import ImageRef
from allograft.data.io.image import read_channels
from allograft.data.preprocess import prepare_case
from allograft.infer.bundle import load_bundle
from allograft.infer.segment import segment
from allograft.study.label_maps import read_labels
from allograft.study.store import RunStore

CLASSES = ["background", "bright", "dark"]


def data(name: str, path: Path) -> dict[str, Any]:
    columns = {"image": "image", "mask": "mask", "group": "patient_id"}
    return {"name": name, "path": str(path), **columns, "task": {"classes": CLASSES}}


def study_file(path: Path, dims: int, cases: Path, recipes: list[dict[str, Any]], **fields: Any) -> Path:
    net = {"encoder": "resnet10_small", "decoder": "unet", "dims": dims, "width": 0.0625}
    text = {
        "study": "synthetic-masks",
        "baseline": recipes[0]["name"],
        "datasets": [data("cases", cases)],
        "folds": 3,
        "seeds": [0],
        "search": {"lrs": []},
        "preprocess": {"intensity": "standard", **({"spacing": "median"} if dims == 3 else {})},
        "patches": {"size": [8, 16, 16] if dims == 3 else [32, 32], "overlap": 0.25},
        "augment": {"preset": "light"},
        "common": {"net": net, "budget": {"steps": 4, "batch": 2, "evals": 1}, "optim": {"lr": 0.01}},
        "recipes": recipes,
        **fields,
    }
    path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished 3-D study with data that help and data that nothing has seen."""
    folder = tmp_path_factory.mktemp("volumes")
    with pytest.MonkeyPatch.context() as patch:
        private_home(folder, patch)
        cases = synthetic_volumes_with_masks(folder / "cases")
        file = study_file(
            folder / "study.yaml",
            3,
            cases,
            [{"name": "scratch"}, {"name": "helped", "procedure": {"pretrain": {"on": ["aid"]}}}],
            auxiliary=[data("aid", synthetic_volumes_with_masks(folder / "aid", patients=4, seed=5, prefix="Aid"))],
            unseen=[data("far", synthetic_volumes_with_masks(folder / "far", patients=3, seed=9, prefix="Far"))],
        )
        found = run_json("study", file, "--out", folder / "out", "--workers", 1)
    return folder / "out", found


def test_every_case_and_class_of_synthetic_volumes_is_scored(volumes: tuple[Path, dict[str, Any]]) -> None:
    out, found = volumes
    assert found["failures"] == []
    rows = RunStore(out).results()
    cases = rows[(rows.dataset == "cases") & (rows.metric == "dice")]
    assert len(cases) == 2 * 7
    assert {"dice|bright", "dice|dark", "hd95", "assd|dark"} <= set(rows.metric)
    assert cases.value.between(0, 1).all()


def test_unseen_data_are_judged_apart_and_named(volumes: tuple[Path, dict[str, Any]]) -> None:
    out, found = volumes
    rows = RunStore(out).results()
    far = rows[(rows.dataset == "far") & (rows.metric == "dice")]
    assert len(far) == 2 * 3 * 3  # recipes x folds x cases
    (table,) = found["tables"]
    (unseen,) = table["unseen"]
    assert unseen["dataset"] == "far"
    assert unseen["n_units"] == 3
    by_hand = far[far.recipe == "helped"].groupby("case").value.mean().mean()
    assert unseen["estimates"]["helped"]["mean"] == pytest.approx(by_hand)


def test_label_maps_lie_on_the_grid_of_the_masks_under_pseudonyms(volumes: tuple[Path, dict[str, Any]]) -> None:
    out, _ = volumes
    store = RunStore(out)
    for key in store.study()["keys"]:
        files = sorted((store.run_folder(key["id"]) / "labels").glob("*.npz"))
        predictions = store.predictions(key["id"]).set_index("case")
        assert {file.stem for file in files} == set(predictions.index)
        for file in files:
            labels = read_labels(file)
            assert labels.ndim == 3
            assert labels.shape[1] == 36
            for value, name in ((1, "bright"), (2, "dark")):
                assert (labels == value).sum() == predictions.loc[file.stem, f"predicted|{name}"]


def test_no_file_of_the_study_holds_a_synthetic_patient_s_name(volumes: tuple[Path, dict[str, Any]]) -> None:
    out, _ = volumes
    told = [
        path for path in out.rglob("*") if path.is_file() and "private" not in path.parts and "cache" not in path.parts
    ]
    assert len(told) > 50
    for path in told:
        content = path.read_bytes()
        for name in (b"Mustermann", b"Aid0", b"Far0"):
            assert name not in content or path.name == "study.json", path


def test_pretraining_learns_from_the_aid_and_moves_the_encoder(volumes: tuple[Path, dict[str, Any]]) -> None:
    out, _ = volumes
    store = RunStore(out)
    key = next(key for key in store.study()["keys"] if key["recipe"] == "helped")
    stages = pd.read_json(store.run_folder(key["id"]) / "stages.json")
    assert list(stages.stage) == ["pretrain", "finetune"]
    assert "dice" in stages.history[0]["rows"][-1]["validation"]
    copied = [e for e in stages.plan[1]["entries"] if e["action"] == "copy"]
    assert copied
    assert all(e["target"].startswith("encoder.") for e in copied)


def test_a_killed_and_repeated_synthetic_study_gives_the_same_results(
    volumes: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = volumes
    private_home(tmp_path, monkeypatch)
    file = out.parent / "study.yaml"
    run_json("study", file, "--out", tmp_path / "again", "--workers", 1)
    here, there = (RunStore(each).results().drop(columns=["case", "unit"]) for each in (out, tmp_path / "again"))
    order = ["recipe", "dataset", "fold", "metric", "value"]
    pd.testing.assert_frame_equal(
        here[order].sort_values(order, ignore_index=True), there[order].sort_values(order, ignore_index=True)
    )


def test_synthetic_pictures_are_segmented_by_the_same_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private_home(tmp_path, monkeypatch)
    cases = synthetic_pictures_with_masks(tmp_path / "cases")
    budget = {"budget": {"steps": 40, "batch": 4, "evals": 2}}
    recipes = [{"name": "long", **budget}, {"name": "short"}]
    file = study_file(tmp_path / "study.yaml", 2, cases, recipes, test_folds=1, augment={"preset": "none"})
    found = run_json("study", file, "--out", tmp_path / "out", "--workers", 1)
    (table,) = found["tables"]
    scores = {row["name"]: row["mean"] for row in table["recipes"]}
    assert scores["long"] > scores["short"] + 0.2, "forty steps learn what four do not"
    _bf16_changes_little(tmp_path / "out", cases.parent)


def _bf16_changes_little(out: Path, images: Path) -> None:
    """Of the trained network's label maps less than half a Dice point changes in bf16; the arithmetic does change."""
    store = RunStore(out)
    run_id = next(key["id"] for key in store.study()["keys"] if key["recipe"] == "long")
    net, bundle = load_bundle(store.run_folder(run_id) / "model", parts)
    assert bundle.patches is not None
    same, all_equal = [], True
    for path in sorted(images.glob("*-img.png")):
        array, _ = prepare_case(read_channels([ImageRef(path)]), bundle.preprocess)
        image = bundle.normalise(torch.from_numpy(array)[None])[0]
        plain, half = (
            segment([net], image, head=bundle.task.head, patches=bundle.patches, precision=precision)
            for precision in ("32-true", "bf16-mixed")
        )
        all_equal &= bool((plain == half).all())
        same += [2 * ((plain == k) & (half == k)).sum() / ((plain == k).sum() + (half == k).sum()) for k in (1, 2)]
    assert np.mean(same) > 0.995
    assert not all_equal, "bf16 did nothing"


def test_what_does_not_fit_a_segmentation_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private_home(tmp_path, monkeypatch)
    cases = synthetic_pictures_with_masks(tmp_path / "cases", patients=3)
    for field, words in (
        ({"select_by": "loss"}, "select_by"),
        ({"patches": {"size": [8, 8, 8]}}, "patches.size has 3 axes"),
        ({"primary_metric": "auroc"}, "auroc"),
        ({"patches": {"size": [12, 12]}}, "cannot take images of 12x12"),
    ):
        file = study_file(tmp_path / "study.yaml", 2, cases, [{"name": "scratch"}], **field)
        result = run("study", file, "--out", tmp_path / f"out-{words[:5]}")
        assert result.exit_code == 1
        assert words in str(result.exception)


def test_settled_pairs_cost_a_false_alarm_its_case() -> None:
    from allograft.core.task import Task
    from allograft.data.mask_scores import MaskScores
    from allograft.data.predictions import Predictions
    from allograft.metrics import METRICS
    from allograft.metrics.mask_mean import settled

    task = Task(kind="segmentation", classes=("background", "lesion"))

    def arm(*values: float) -> Predictions:
        column = np.array(values)[:, None]
        counts = np.where(np.isnan(column), 0, 5).astype(np.int64)
        scores = MaskScores(classes=("lesion",), values={"dice": column}, predicted=counts, truth=np.array([[5], [0]]))
        return Predictions.of_masks(task, ("a", "b"), ("a", "b"), scores)

    quiet, loud = settled([arm(0.5, np.nan), arm(0.6, 0.0)], METRICS["dice"])
    assert METRICS["dice"].cases(quiet).tolist() == [0.5, 1.0]
    assert METRICS["dice"].cases(loud).tolist() == [0.6, 0.0]
