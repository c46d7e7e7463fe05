"""Whether networks look where masks are, in a study of two sources; synthetic images with a bright or dark square."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_study as tiny
import yaml
from PIL import Image

from allograft.study.pointed import Pointing
from allograft.study.pointing import POINTED
from allograft.study.summarise import summarise
from html_walk import Walk

SIDE = 32


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


def synthetic_squares(folder: Path, patients: int = 18) -> Path:
    """Write noise with a bright square (class a) or a dark one (class b) and its mask.

    Every sixth mask is empty, and of every ninth patient there is none.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = ["image,mask,kind,patient_id"]
    for n in range(patients):
        row, column = rng.integers(2, SIDE - 14, 2)
        labels = np.zeros((SIDE, SIDE), np.uint8)
        labels[row : row + 12, column : column + 12] = 1
        picture = rng.normal(110, 6, (SIDE, SIDE)) + (90 if n % 2 else -90) * labels.astype(float)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / f"Mustermann{n}.png")
        Image.fromarray(labels * (n % 6 != 5)).save(folder / f"Mustermann{n}-mask.png")
        mask = "" if n % 9 == 8 else f"Mustermann{n}-mask.png"
        rows.append(f"Mustermann{n}.png,{mask},{'ab'[n % 2]},Mustermann{n}")
    table = folder / "blobs.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def study(table: Path, recipes: list[dict[str, Any]], **data: Any) -> Path:
    text = {
        "study": "pointing, synthetic",
        "baseline": recipes[0]["name"],
        "datasets": [
            {"name": "blobs", "path": str(table), "image": "image", "label": "kind", "group": "patient_id", **data}
        ],
        "folds": 3,
        "seeds": [0, 1],
        "search": {"lrs": []},
        "preprocess": {"intensity": "unit", "size": [SIDE, SIDE]},
        "augment": {"preset": "none"},
        "common": {
            "net": {"encoder": "resnet10_small", "width": 0.125},
            "budget": {"steps": 30, "batch": 8, "evals": 1},
            "optim": {"lr": 0.01},
        },
        "recipes": recipes,
    }
    path = table.parent / "study.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return path


ALSO = {"also": {"blob": {"mask": "mask", "task": {"classes": ["background", "blob"]}}}}


def test_the_report_says_how_much_heat_lies_inside_by_recipe_and_source(tmp_path: Path) -> None:
    table = synthetic_squares(tmp_path / "data")
    gabor = {"name": "gabor", "start": "gabor", "net": {"encoder": "cbr_tiny", "width": 0.25}}
    recipes: list[dict[str, Any]] = [
        {"name": "scratch"},
        gabor,
        {"name": "frozen", "start": "scratch", "tuning": "frozen"},
    ]
    file, out = study(table, recipes, **ALSO), tmp_path / "out"
    tiny.run_json("study", file, "--out", out, "--workers", 1)
    (found,) = summarise(out).tables[0].pointing
    empty, missing = {5, 11, 17}, {8, 17}
    assert found.head == "blob"
    assert found.n_cases == 18 - len(empty | missing)
    assert found.n_units == found.n_cases
    assert found.missing == ()
    assert found.area == pytest.approx(144 / SIDE**2)
    assert set(found.shares) == {"scratch", "gabor", "frozen"}
    assert len(found.pairs) == 3
    _by_hand(out, found)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Do networks look where the masks are?" in page
    assert "Grad-CAM and blob" in page
    assert "Mustermann" not in page
    assert Walk(page).complaints == []
    told = json.loads(tiny.run("compare", out, "--json").stdout)
    assert told["tables"][0]["pointing"][0]["head"] == "blob"


def _by_hand(out: Path, found: Pointing) -> None:
    """Average the runs' own rows again: seeds first, then cases, of which each is a unit here."""
    rows: dict[str, dict[str, list[float | None]]] = {}
    for folder in (out / "runs").iterdir():
        recipe = json.loads((folder / "outcome.json").read_text())["key"]["recipe"]
        for row in json.loads((folder / POINTED).read_text()):
            rows.setdefault(recipe, {}).setdefault(row["case"], []).append(row["share"])
    assert all(len(values) == 2 for own in rows.values() for values in own.values()), "every case once a seed"
    for recipe, own in rows.items():
        means = [np.mean([v for v in values if v is not None]) for values in own.values() if None not in values]
        assert found.shares[recipe].mean == pytest.approx(np.mean(means))
        assert found.without_heat[recipe] == len(own) - len(means)


def test_without_masks_nothing_is_shown(tmp_path: Path) -> None:
    table = synthetic_squares(tmp_path / "data", patients=9)
    out = tmp_path / "out"
    tiny.run_json("study", study(table, [{"name": "scratch"}]), "--out", out, "--workers", 1)
    assert summarise(out).tables[0].pointing == ()
    assert not list((out / "runs").glob(f"*/{POINTED}"))
    assert "look where the masks are" not in (out / "report.html").read_text(encoding="utf-8")
