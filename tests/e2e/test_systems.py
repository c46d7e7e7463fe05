"""Systems of the literature: every study in examples/ runs from the command line, on synthetic data made for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_study as tiny
from synthetic_systems import EXAMPLES, WIDTH, tiny_example

CLASSIC = {"encoder": "resnet10_small", "width": WIDTH}
SLICES = {"encoder": "resnet10_slice", "width": WIDTH}
IN_PLANE = [{"elastic": {"p": 0.1}}, {"flip": {"axes": [-1, -2]}}, {"noise": {"p": 0.15}}]
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "wacker-2d": ("wacker", 2, {"net": {**SLICES, "encoder": "resnet10"}, "donor": "resnet10", "augment": IN_PLANE}),
    "wacker-3d": ("wacker", 3, {"net": SLICES, "donor": "resnet10", "shape": (8, 32, 32)}),
    "med3d-2d": ("med3d_cotraining", 2, {"net": {**CLASSIC, "decoder": "unet"}, "label_fractions": [1.0]}),
    "med3d-3d": (
        "med3d_cotraining",
        3,
        {"net": {"encoder": "medicalnet10", "width": WIDTH}, "label_fractions": [1.0], "only": "scratch med3d"},
    ),
    "pretask-2d": ("pretask", 2, {"net": CLASSIC, "label_counts": [1, 2]}),
    "pretask-3d": ("pretask", 3, {"net": CLASSIC, "label_counts": [1, 2], "only": "none same-task-with-decoder"}),
    "vertebrae-2d": ("vertebrae", 2, {"net": {"width": WIDTH}}),
    "vertebrae-3d": ("vertebrae", 3, {"net": {"width": WIDTH}}),
    "irpe-2d": ("irpe", 2, {"net": CLASSIC, "label_counts": [1, 2]}),
    "irpe-3d": ("irpe", 3, {"net": CLASSIC, "label_counts": [1, 2], "only": "plain gan geometric"}),
    "covid-3d": ("covid_slices", 3, {"net": SLICES, "donor": "resnet10"}),
    "pocus-2d": ("pocus", 2, {"net": {**CLASSIC, "until": "stage3"}, "donor": "resnet10_small"}),
    "truncated-2d": ("truncated", 2, {"net": CLASSIC, "donor": "resnet10_small"}),
    "truncated-3d": ("truncated", 3, {"net": CLASSIC, "donor": "resnet10_small"}),
}
SMALL_IMAGES: dict[str, dict[str, Any]] = {
    "covid-3d": {"preprocess": {"size": [6, 24, 24], "intensity": "window", "low": 0, "high": 255, "channels": 1}},
    "pocus-2d": {"preprocess": {"size": [24, 24], "channels": 3}},
    "truncated-2d": {"preprocess": {"size": [24, 24], "channels": 3}},
    "truncated-3d": {"preprocess": {"size": [8, 24, 24], "low": 0, "high": 255}},
}


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.private_home(tmp_path_factory.mktemp("home"), patch)
        yield


class Ran:
    """A finished study: what it said, its folder, and its file's content."""

    def __init__(self, case: str, folder: Path) -> None:
        name, dims, settings = CASES[case]
        file, self.text = tiny_example(name, folder, dims, **{**settings, **SMALL_IMAGES.get(case, {})})
        self.out = folder / "out"
        self.said = tiny.run_json("study", file, "--out", self.out, "--workers", 1)

    def outcomes(self) -> list[dict[str, Any]]:
        return [json.loads(p.read_text()) for p in sorted((self.out / "runs").glob("*/outcome.json"))]

    def of(self, recipe: str) -> Path:
        """Return the folder of the first run of a recipe."""
        folders = sorted((self.out / "runs").glob("*/outcome.json"))
        return next(p.parent for p in folders if json.loads(p.read_text())["key"]["recipe"] == recipe)

    def stages(self, recipe: str) -> list[dict[str, Any]]:
        return list(json.loads((self.of(recipe) / "stages.json").read_text()))


_RAN: dict[str, Ran] = {}


@pytest.fixture
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    if request.param not in _RAN:
        _RAN[request.param] = Ran(request.param, tmp_path_factory.mktemp(request.param))
    return _RAN[request.param]


def on(*cases: str) -> Any:
    return pytest.mark.parametrize("ran", cases, indirect=True)


def test_every_example_that_ships_runs_here() -> None:
    ours = {path.stem for path in EXAMPLES.glob("*.yaml") if "table" not in path.stem}
    assert {name for name, *_ in CASES.values()} <= ours
    for path in EXAMPLES.glob("*.yaml"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 40, path.name


@on(*CASES)
def test_the_example_runs_on_synthetic_data_and_says_so(ran: Ran) -> None:
    outcomes = ran.outcomes()
    counts = len(ran.text.get("label_counts", ran.text.get("label_fractions", [1.0])))
    assert len(outcomes) == len(ran.text["recipes"]) * counts
    assert all(one["status"] == "done" for one in outcomes if "status" in one)
    assert ran.said["runs"] == {"finished": len(outcomes), "planned": len(outcomes)}
    page = Path(ran.said["report"]).read_text(encoding="utf-8")
    assert "synthetic data" in page
    assert "Mustermann" not in page


@on("wacker-2d", "wacker-3d")
def test_wacker_scores_regions_and_copies_the_2d_weights(ran: Ran) -> None:
    rows = pd.read_parquet(ran.out / "results.parquet")
    assert {"dice|WT", "dice|TC", "dice|ET"} <= set(rows.metric)
    plan = ran.stages("imagenet")[0]["plan"]
    taken = [e for e in plan["entries"] if e["source"] and e["kind"] == "weight"]
    assert taken
    assert {e["args"].get("fill", "slice") for e in taken} == {"slice"}
    for entry in taken:
        assert int(np.prod(entry["shape"])) == int(np.prod(entry["source_shape"]))


@on("med3d-2d", "med3d-3d")
def test_med3d_has_a_head_for_each_organ_and_moves_the_encoder_alone(ran: Ran) -> None:
    first, second = ran.stages("med3d")
    heads = {e["stage"] for e in first["plan"]["entries"] if e["stage"].startswith("head.") and "conv" in e["target"]}
    organs = {"hippocampus", "prostate", "pancreas", "spleen"}
    assert {f"head.{name}" for name in organs} <= heads
    assert organs <= set(first["history"]["rows"][0]["train"])
    actions = {e["target"].split(".")[0]: set() for e in second["plan"]["entries"]}
    for e in second["plan"]["entries"]:
        actions[e["target"].split(".")[0]].add(e["action"])
    assert actions["encoder"] == {"copy"}
    assert actions["heads"] == {"fresh"}
    assert [stage["stage"] for stage in ran.stages("scratch")] == ["finetune"]


@on("pretask-2d", "pretask-3d")
def test_pretask_reports_the_unseen_scanner_at_every_count(ran: Ran) -> None:
    outcomes = ran.outcomes()
    assert len({one["key"]["label_fraction"] for one in outcomes}) == 2
    for one in outcomes:
        assert (ran.out / "runs" / one["key"]["id"] / "predictions-unseen-other-scanner.parquet").exists()
    copied = ran.stages("same-task-with-decoder")[1]["plan"]["entries"]
    assert {e["action"] for e in copied if e["stage"] == "decoder"} == {"copy"}


@on("vertebrae-2d", "vertebrae-3d")
def test_vertebrae_are_judged_and_chosen_by_the_localisation_error(ran: Ran) -> None:
    rows = ran.stages("from-cord-centroids")[1]["history"]["rows"]
    assert rows[0]["validation"]["score"] == -rows[0]["validation"]["localisation_error"]
    assert rows[0]["train"]["localisation"] > 0
    assert "localisation" not in ran.stages("from-cord")[1]["history"]["rows"][0]["train"]
    assert all(one["scores"]["localisation_error"] >= 0 for one in ran.outcomes())


@on("irpe-2d", "irpe-3d")
def test_irpe_trains_a_gan_on_images_alone_and_moves_its_encoder(ran: Ran) -> None:
    first, second = ran.stages("gan")
    train = first["history"]["rows"][-1]["train"]
    assert {"discriminator.loss", "discriminator.accuracy", "generator.loss"} <= set(train)
    assert first["history"]["rows"][-1]["validation"] == {}
    assert first["search"] == {}
    assert {e["action"] for e in second["plan"]["entries"] if e["target"].startswith("encoder.")} == {"copy"}
    assert {e["action"] for e in second["plan"]["entries"] if e["target"].startswith("decoder.")} == {"fresh"}


@on("covid-3d")
def test_covid_pools_slices_in_four_ways(ran: Ran) -> None:
    scores = {one["key"]["recipe"]: one["scores"]["log_loss"] for one in ran.outcomes()}
    assert len(set(scores.values())) == len(scores) == 4
    targets = {e["target"] for e in ran.stages("attention")[0]["plan"]["entries"]}
    assert {"heads.label.score.weight", "heads.label.gate.weight"} <= targets


@on("pocus-2d")
def test_pocus_scores_videos_that_lie_in_one_fold(ran: Ran) -> None:
    found = pd.read_parquet(ran.of("last-convolution") / "predictions-test.parquet")
    assert list(found.case) == list(found.unit)
    assert len(found) == 3
    plan = ran.stages("last-convolution")[0]["plan"]["entries"]
    learning = {e["stage"] for e in plan if any(scale for _, scale in e["learns"])}
    assert learning == {"stage3", "head.label"}
    bundle = json.loads((ran.of("scratch") / "model" / "bundle.json").read_text())
    assert bundle["views"] == "ten_crop"
    assert bundle["task"]["score_by"] == "group"


@on("truncated-2d", "truncated-3d")
def test_truncated_plans_name_what_was_cut_on_purpose(ran: Ran) -> None:
    sizes = []
    for recipe, gone in (("whole", 0), ("stage3", 1), ("stage2", 2), ("stage1", 3)):
        plan = ran.stages(recipe)[0]["plan"]
        why = [one["source"].split(".")[0] for one in plan["unused"] if "cut off on purpose" in one["why"]]
        assert set(why) == {f"layer{4 - k}" for k in range(gone)}
        assert bool(gone) == any("behind the cut" in note for note in plan["notes"])
        sizes.append(sum(int(np.prod(e["shape"])) for e in plan["entries"]))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
