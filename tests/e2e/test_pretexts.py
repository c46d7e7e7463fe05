"""Self-supervision: every pretext task's recipe runs through `allograft study`, in each dimension and task it claims.

A method adds its recipes to `RECIPES`. All recipes of one dimension and task share one study. The data are synthetic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import shared_runs
import tiny_study as tiny
import yaml
from shared_runs import Ran
from synthetic_sites import synthetic_sites

CLASSIFY, SEGMENT = ("classify-2d", "classify-3d"), ("segment-2d", "segment-3d")
EVERY = (*CLASSIFY, *SEGMENT)


class Told(NamedTuple):
    """The settings of a pretext task, what it claims, and what the log of its first stage must hold."""

    pretext: str | dict[str, Any]
    claims: tuple[str, ...] = EVERY
    logged: tuple[str, ...] = ("loss",)
    more: tuple[tuple[str, Any], ...] = ()
    """Further fields of the recipe."""


SMALL = {"hidden": 16, "output": 8}
MEDICAL = {"self_supervised": {"pretext": {"simclr": SMALL}, "augment": "medical_views"}}
RECIPES: dict[str, Told] = {
    "rotation": Told("rotation", logged=("accuracy", "chance")),
    "relative_patch_location": Told("relative_patch_location", logged=("accuracy", "chance")),
    "jigsaw": Told({"jigsaw": {"permutations": 5}}, logged=("accuracy", "chance")),
    "cpc": Told({"cpc": {"per_side": 3}}, logged=("accuracy", "chance")),
    "exemplar": Told("exemplar", logged=("accuracy", "chance")),
    "models_genesis": Told({"models_genesis": {"width": 16, "windows": 5}}, logged=("unrestored",)),
    "masked_autoencoder": Told({"masked_autoencoder": {"width": 16}}, logged=("mean_guess",)),
    "simclr": Told({"simclr": SMALL}, logged=("accuracy", "chance")),
    "medical_views": Told({"simclr": SMALL}, logged=("accuracy", "chance"), more=(("procedure", MEDICAL),)),
    "moco_v2": Told({"moco_v2": {**SMALL, "queue": 16, "momentum": 0.9}}, logged=("accuracy", "chance")),
    "byol": Told({"byol": {**SMALL, "momentum": 0.9}}, logged=("directions",)),
    "simsiam": Told({"simsiam": {**SMALL, "bottleneck": 4}}, logged=("directions",)),
    "barlow_twins": Told({"barlow_twins": SMALL}, logged=("apart", "redundant")),
    "vicreg": Told({"vicreg": SMALL}, logged=("invariance", "variance", "covariance")),
    "swav": Told({"swav": {**SMALL, "prototypes": 4}}, logged=("used",)),
    "dino": Told({"dino": {**SMALL, "bottleneck": 8, "hand_on": "teacher"}}, logged=("used",)),
    "gan": Told({"gan": {"width": 4, "noise": 4, "levels": 2}}, logged=("discriminator.accuracy", "generator.loss")),
    "patient_pairs": Told({"patient_pairs": {**SMALL, "domain": "other"}}, logged=("accuracy", "chance")),
}
VIEWS = {"exemplar", "simclr", "moco_v2", "byol", "simsiam", "barlow_twins", "vicreg", "swav", "dino", "medical_views"}
"""Tasks that make two views of an image."""


def recipes(case: str) -> list[dict[str, Any]]:
    """Return training from scratch and every pretext task that claims a case."""
    told = {name: one for name, one in RECIPES.items() if case in one.claims}
    runs = {name: {"procedure": {"self_supervised": {"pretext": one.pretext}}} for name, one in told.items()}
    return [{"name": "plain"}, *({"name": n, **runs[n], **dict(one.more)} for n, one in told.items())]


def study(case: str, folder: Path, chosen: list[dict[str, Any]], **fields: Any) -> Path:
    """Write synthetic data and a study of a case."""
    dims, dense = (3 if case.endswith("3d") else 2), case in SEGMENT
    table = synthetic_sites(folder / "cases", dims=dims)
    columns = {"path": str(table), "image": "image", "group": "patient_id", "domain": "site"}
    columns |= {"mask": "mask", "task": {"classes": ["background", "bright", "dark"]}} if dense else {"label": "label"}
    net = {"encoder": "resnet10_small", "dims": dims, "width": 0.0625}
    text = {
        "study": "synthetic pretexts",
        "baseline": chosen[0]["name"],
        "datasets": [{"name": "cases", **columns}],
        "folds": 3,
        "test_folds": 1,
        "seeds": [0],
        "label_fractions": [0.5],
        "search": {"lrs": []},
        "preprocess": {"intensity": "standard", **({} if dense else {"size": [16] * dims})},
        **({"patches": {"size": [16] * dims, "overlap": 0}} if dense else {}),
        "augment": {"preset": "light"},
        "common": {
            "net": {**net, **({"decoder": "unet"} if dense else {})},
            "budget": {"steps": 6, "batch": 4, "evals": 1},
            "optim": {"lr": 0.01},
        },
        "recipes": chosen,
        **fields,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


def ran(case: str, factory: pytest.TempPathFactory) -> Ran:
    return shared_runs.ran("pretexts", case, factory, lambda folder: study(case, folder, recipes(case)))


@pytest.mark.parametrize("case", EVERY)
def test_every_recipe_finishes_and_is_in_the_report(case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = ran(case, tmp_path_factory)
    assert found.result["code"] == 0, found.result["all"]
    names, said = [recipe["name"] for recipe in recipes(case)], json.loads(found.result["said"])
    assert said["runs"] == {"finished": len(names), "planned": len(names)}
    page = Path(said["report"]).read_text(encoding="utf-8")
    assert all(name in page for name in names)


def section(page: Path) -> str:
    found = re.search(r'<section id="pretexts">.*?(?=<section id="transfer")', page.read_text(), re.DOTALL)
    assert found, "the report has no section of training without labels"
    return found[0]


@pytest.mark.parametrize("case", EVERY)
def test_the_report_shows_numbers_and_pictures_of_every_task(
    case: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = ran(case, tmp_path_factory)
    said, names = json.loads(found.result["said"]), [name for name, one in RECIPES.items() if case in one.claims]
    assert [one["recipe"] for one in said["pretexts"]] == names
    assert {one["told"] for one in said["pretexts"]} == {"cannot tell"}, "one fold proves nothing"
    shown = section(Path(said["report"]))
    for name in names:
        assert shown.count(f'aria-label="{name} on held-out images of cases. loss: from') == 2, "wide and narrow"
        assert f'aria-label="{name}, image 1: ' in shown
    bare = tmp_path / "bare.html"
    assert tiny.run("report", found.out, "--no-pictures", "--to", bare).exit_code == 0
    assert "data:image/png" in shown
    assert "data:image/png" not in bare.read_text()
    assert "too few test folds (1)" in section(bare)


@pytest.mark.parametrize(("name", "case"), [(n, case) for n, one in RECIPES.items() for case in one.claims])
def test_the_pretext_is_trained_watched_and_handed_on(
    name: str, case: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = ran(case, tmp_path_factory).of(name)
    first, last = json.loads((folder / "stages.json").read_text())
    assert (first["stage"], last["stage"]) == ("pretext", "finetune")
    row = first["history"]["rows"][-1]
    assert set(RECIPES[name].logged) <= set(row["train"])
    assert {"held_out_loss", "spread", "uniformity"} <= set(row["validation"])
    assert set(row["validation"]) == set(first["began"]), "what is watched was looked at before the first step"
    assert ({"alignment", "retrieval", "retrieval_chance"} <= set(row["validation"])) == (name in VIEWS)
    copied = [entry for entry in last["plan"]["entries"] if entry["source"]]
    assert copied, "the second stage starts from the first"


def test_a_transformers_tokens_are_left_out_in_a_study(tmp_path: Path) -> None:
    net = {"encoder": "timm:test_vit", "dims": 2, "width": 1.0}
    pretext = {"masked_autoencoder": {"width": 16, "share": 0.5}}
    chosen = [{"name": "tokens", "net": net, "procedure": {"self_supervised": {"pretext": pretext}}}]
    path = study("classify-2d", tmp_path, chosen, preprocess={"intensity": "standard", "size": [32, 32]})
    said = tiny.run_json("study", path, "--out", tmp_path / "out", "--workers", 1)
    assert said["runs"] == {"finished": 1, "planned": 1}
    (stages,) = (tmp_path / "out").glob("runs/*/stages.json")
    assert "mean_guess" in json.loads(stages.read_text())[0]["history"]["rows"][-1]["train"]
