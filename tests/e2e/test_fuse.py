"""Fused recipes and where networks look, from the command line: real pictures, synthetic volumes and masks."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_study as tiny
import yaml
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from synthetic_masks import synthetic_pictures_with_masks

from allograft.study.heat import read_heat

SCORES = {"auroc": roc_auc_score, "balanced_accuracy": lambda t, p: balanced_accuracy_score(t, p > 0.5)}
RECIPES = [{"name": "scratch"}, {"name": "gabor", "start": "gabor"}, {"name": "frozen", "tuning": "frozen"}]


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


def classes(folder: Path, dims: int) -> Path:
    data = tiny.synthetic_volumes(folder) if dims == 3 else tiny.real_pictures(folder)
    recipes = [RECIPES[0], RECIPES[2]] if dims == 3 else RECIPES[:2]
    tiny.run_json("study", tiny.study_file(data, recipes), "--out", folder / "out", "--workers", 1)
    return folder / "out"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classes(tmp_path_factory.mktemp("pictures"), 2)


def masks(folder: Path) -> Path:
    columns = {"image": "image", "mask": "mask", "group": "patient_id"}
    path = synthetic_pictures_with_masks(folder / "cases")
    text = {
        "study": "fused masks",
        "baseline": "one",
        "datasets": [
            {"name": "cases", "path": str(path), **columns, "task": {"classes": ["background", "bright", "dark"]}}
        ],
        "folds": 3,
        "test_folds": 1,
        "seeds": [0],
        "search": {"lrs": []},
        "patches": {"size": [32, 32], "overlap": 0},
        "common": {
            "net": {"encoder": "resnet10_small", "decoder": "unet", "width": 0.0625},
            "budget": {"steps": 6, "batch": 2, "evals": 1},
        },
        "recipes": [
            {"name": name, "optim": {"lr": lr}} for name, lr in (("one", 0.02), ("two", 0.01), ("three", 0.005))
        ],
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(text), encoding="utf-8")
    tiny.run_json("study", file, "--out", folder / "out", "--workers", 1)
    return folder / "out"


def runs(out: Path) -> dict[tuple[str, int], Path]:
    """Return run folders by recipe and fold."""
    found = {}
    for path in (out / "runs").glob("*/outcome.json"):
        key = json.loads(path.read_text())["key"]
        found[key["recipe"], key["fold"]] = path.parent
    return found


def fused(out: Path, *recipes: str) -> dict[str, Any]:
    (one,) = tiny.run_json("fuse", out, *recipes)["fused"]
    return dict(one)


def test_fused_probabilities_are_judged_like_any_recipe_and_stand_in_the_report(pictures: Path) -> None:
    one = fused(pictures, "scratch", "gabor")
    tables = {
        at: pd.read_parquet(path / "predictions-test.parquet").set_index("case") for at, path in runs(pictures).items()
    }
    folds = sorted({fold for _, fold in tables})
    values, weights = [], []
    for fold in folds:
        a, b = tables["scratch", fold], tables["gabor", fold]
        mean = ((a["p1"] + b.loc[a.index, "p1"]) / 2).to_numpy()
        values.append(SCORES[json.loads((pictures / "study.json").read_text())["metric"]](a["t0"].to_numpy(), mean))
        weights.append(len(a))
    assert one["estimate"]["mean"] == pytest.approx(np.average(values, weights=weights), abs=1e-6)
    assert one["rule"] == "mean of probabilities"
    assert set(one["members"]) == {"scratch", "gabor"}
    assert {(p["a"], p["b"]) for p in one["pairs"]} & {("scratch + gabor", "scratch"), ("scratch", "scratch + gabor")}
    assert len(one["pairs"]) == 2
    assert one["n_units"] == tiny.PATIENTS
    page = (pictures / "report.html").read_text(encoding="utf-8")
    assert "Fused recipes" in page
    assert "scratch + gabor by the mean of probabilities" in page
    tiny.run_json("report", pictures)
    assert "Fused recipes" in (pictures / "report.html").read_text(encoding="utf-8")


def test_a_recipe_fused_with_a_copy_of_itself_is_itself(pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    folders = runs(copy)
    for (recipe, fold), folder in folders.items():
        if recipe == "gabor":
            shutil.copy(folders["scratch", fold] / "predictions-test.parquet", folder / "predictions-test.parquet")
    one = fused(copy, "scratch", "gabor")
    assert one["estimate"]["mean"] == pytest.approx(one["members"]["scratch"]["mean"], abs=1e-9)
    assert all(p["difference"] == pytest.approx(0, abs=1e-9) for p in one["pairs"])


def test_fuse_says_what_is_wrong(pictures: Path) -> None:
    for names, said in (
        (["scratch"], "at least two"),
        (["scratch", "scratch"], "different"),
        (["scratch", "gabr"], 'Did you mean "gabor"'),
    ):
        result = tiny.run("fuse", pictures, *names)
        assert result.exit_code != 0
        assert said in " ".join(str(result.exception).split())


def test_masks_vote_on_their_own_grid_and_dice_is_that_of_the_vote(tmp_path: Path) -> None:
    out = masks(tmp_path)
    one = fused(out, "one", "two", "three")
    assert one["rule"] == "majority of masks"
    folders = {recipe: path for (recipe, _), path in runs(out).items()}
    assert one["n_units"] == len(list((folders["one"] / "labels").glob("*.npz"))) > 1
    shown = (out / "report.html").read_text(encoding="utf-8")
    assert "by the majority of masks" in shown
    for name in ("two", "three"):  # members that say the same: the fusion is each of them, and differs from before
        shutil.rmtree(folders[name] / "labels")
        shutil.copytree(folders["one"] / "labels", folders[name] / "labels")
        shutil.copy(folders["one"] / "predictions-test.parquet", folders[name] / "predictions-test.parquet")
    same = fused(out, "one", "two", "three")
    assert same["estimate"]["mean"] == pytest.approx(same["members"]["one"]["mean"], abs=1e-9)
    assert all(p["difference"] == pytest.approx(0, abs=1e-9) for p in same["pairs"])


@pytest.mark.parametrize("dims", [2, 3])
def test_the_report_shows_where_each_recipe_looks_side_by_side(dims: int, tmp_path: Path, request: Any) -> None:
    out = request.getfixturevalue("pictures") if dims == 2 else classes(tmp_path, 3)
    tiny.run_json("report", out)
    folders = runs(out)
    first = {recipe: path for (recipe, fold), path in folders.items() if fold == 0}
    names = [sorted(p.stem for p in (path / "heat").glob("*.npz")) for path in first.values()]
    assert names[0] == names[1]
    assert len(names[0]) == 3
    assert not any((path / "heat").exists() for (_, fold), path in folders.items() if fold > 0)
    for path in first.values():
        one = read_heat(path / "heat" / f"{names[0][0]}.npz")
        assert one.image.shape == one.heat.shape
        assert one.heat.max() in {0, 255}
        assert (one.of > 1) == (dims == 3)
        assert 0 < one.sure <= 1
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Where networks look" in page
    assert len(re.findall(r'aria-label="Where \S+ finds', page)) == 3 * len(first)
    assert "Mustermann" not in page
    tiny.run_json("report", out, "--no-pictures")
    assert "Where networks look" not in (out / "report.html").read_text(encoding="utf-8")
