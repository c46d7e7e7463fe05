"""Classes that say a side are not mirrored; collapsed runs are said in notes and warnings."""

from __future__ import annotations

import numpy as np
import pytest

from allograft.core.errors import ConfigError
from allograft.core.geometry import Geometry
from allograft.core.task import Task
from allograft.data.mask_scores import MaskScores
from allograft.data.placement import Placement
from allograft.data.predictions import Predictions
from allograft.data.transforms.augment import Augment
from allograft.study.collapsed import collapse_notes, collapse_warnings
from allograft.study.grid import Study
from allograft.study.outcome import Done, RunKey
from allograft.study.sides import keep_sides, unmirrored

SIDED = Task(kind="segmentation", classes=("background", "kidney_L", "kidney_R"))
PLAIN = Task(kind="segmentation", classes=("background", "kidney"))
NET = {"net": {"encoder": "resnet10_small", "decoder": "unet", "dims": 3}}


def study_of(recipes=("a", "b"), own=None, **more):
    rows = [{"name": name, **NET, "budget": {"steps": 10 + i}, **(own or {})} for i, name in enumerate(recipes)]
    return Study.model_validate(
        {"study": "s", "datasets": [{"name": "d", "path": "d.csv"}], "recipes": rows, "baseline": recipes[0], **more}
    )


def test_presets_lose_their_flip_and_it_is_said():
    said = keep_sides(study_of(augment="light"), {"d": SIDED})
    assert len(said) == 1
    assert "kidney_L, kidney_R" in said[0]
    assert keep_sides(study_of(augment="light"), {"d": PLAIN}) == []
    assert keep_sides(study_of(augment="none"), {"d": SIDED}) == []
    off = {"preset": "light", "flip_left_right": False}
    assert keep_sides(study_of(augment=off), {"d": SIDED}) == []
    # A recipe's own augmentation counts too.
    assert keep_sides(study_of(augment="none", own={"augment": "strong"}), {"d": SIDED}) != []


@pytest.mark.parametrize("preset", ["light", "strong"])
def test_no_draw_of_an_unmirrored_preset_flips(preset):
    augment = Augment(preset=preset, transforms=({"kind": "noise"},))
    kept = unmirrored(augment, [PLAIN, SIDED])
    assert [step.kind for step in kept.steps] == [step.kind for step in augment.steps if step.kind != "flip"]
    assert augment.steps[0].kind == "flip"
    assert unmirrored(augment, [PLAIN]) is augment
    draws = [kept.draw(np.random.default_rng(i), (1, 8, 8, 8)) for i in range(20)]
    assert not any(step["kind"] == "flip" for draw in draws for step in draw["steps"])


def test_what_the_file_asks_for_is_refused():
    flip = [{"flip": {"axes": [-1, -2]}}]
    with pytest.raises(ConfigError, match=r'recipe "a": flip mirrors left and right.*d: kidney_L, kidney_R'):
        keep_sides(study_of(augment=flip), {"d": SIDED})
    with pytest.raises(ConfigError, match="axis -1"):
        keep_sides(study_of(augment="none", own={"augment": flip}), {"d": SIDED})
    assert keep_sides(study_of(augment=[{"flip": {"axes": [-2, -3]}}]), {"d": SIDED}) == []
    assert keep_sides(study_of(augment=flip), {"d": PLAIN}) == []
    patches = {"size": [16, 16, 16], "mirror": [0, 2]}
    with pytest.raises(ConfigError, match=r"patches\.mirror: axis 2 is left-right"):
        keep_sides(study_of(augment="none", patches=patches), {"d": SIDED})
    keep_sides(study_of(augment="none", patches={**patches, "mirror": [0, 1]}), {"d": SIDED})
    with pytest.raises(ConfigError, match="ten_crop averages mirrored crops"):
        keep_sides(study_of(views="ten_crop"), {"d": Task(kind="binary", classes=("left", "right"))})


class FakeStore:
    """Places of volumes of 4 x 4 x 4, stored as 2 x 2 x 2."""

    def placement(self, name):
        return Placement(geometry=Geometry.of_pixels((4, 4, 4)), box=((0, 4),) * 3, shape=(2, 2, 2))


def predictions(predicted, truth):
    scores = MaskScores(
        classes=("kidney",),
        values={"dice": np.zeros((2, 1))},
        predicted=np.full((2, 1), predicted),
        truth=np.full((2, 1), truth),
    )
    return Predictions.of_masks(PLAIN, ("a", "b"), ("a", "b"), scores)


def done(recipe, seed, notes):
    key = RunKey(id=f"{recipe}{seed}", dataset="d", fold=0, seed=seed, label_fraction=1.0, recipe=recipe)
    return Done(
        key=key, lr=0.1, coverage={}, scores={}, seconds={}, peak_memory_mb=1.0, environment={}, notes=tuple(notes)
    )


def test_a_collapsed_run_is_noted_for_validation_and_test():
    good, none, all_test, all_val = predictions(5, 6), predictions(0, 6), predictions(64, 6), predictions(8, 6)
    store = FakeStore()
    assert collapse_notes({"val": good, "test": good}, store) == []
    (note,) = collapse_notes({"val": good, "test": none}, store)
    assert note.startswith("Collapsed (test): The network predicts background only")
    notes = collapse_notes({"val": all_val, "test": all_test}, store)
    assert ["validation" in notes[0], "nearly everywhere" in notes[0], "(test)" in notes[1]] == [True] * 3
    assert collapse_notes({"val": good, "test": all_val}, store) == []  # 8 of 64 elements are not everywhere


def test_the_report_counts_the_runs_of_a_recipe_that_collapsed():
    note = "Collapsed (test): The network predicts background only: why."
    outcomes = [done("a", 0, ["else"]), done("a", 1, ["else", note]), done("b", 0, []), done("b", 1, ["else"])]
    (said,) = collapse_warnings(outcomes)
    assert said == f'd, 100% of the labels: "a": 1 of 2 runs collapsed. First of them: {note}'
    assert collapse_warnings(outcomes[2:]) == []
