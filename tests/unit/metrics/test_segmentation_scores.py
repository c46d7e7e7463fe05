"""Scores of cases: rows, regions, counts, means that admit misses, and the collapse detector."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.mask_scores import MaskScores
from allograft.metrics.segmentation.collapse import collapse_of_scores, collapse_warning
from allograft.metrics.segmentation.dice import Dice
from allograft.metrics.segmentation.hd95 import HD95
from allograft.metrics.segmentation.score import score_case
from allograft.metrics.segmentation.summary import case_values, settle_skipped, summarise

METRICS = (Dice(), HD95())
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


def labels(**squares):
    """Return a synthetic 12 x 12 label image: v<value>=(row, column, size)."""
    out = np.zeros((12, 12), dtype=np.int16)
    for name, (row, column, size) in squares.items():
        out[row : row + size, column : column + size] = int(name[1:])
    return out


TRUTH = labels(v1=(1, 1, 4), v2=(7, 7, 3), v3=(2, 2, 2))
NOTHING = np.zeros_like(TRUTH)


def rows(prediction, truth=TRUTH, classes=REGIONS, metrics=METRICS, spacing=(2.0, 1.0)):
    return score_case(prediction, truth, classes, spacing, metrics)


@pytest.mark.parametrize("dims", [2, 3])
def test_rows_are_the_metrics_of_each_regions_mask(dims):
    noise = np.random.default_rng(0)
    prediction, truth = noise.integers(0, 5, size=(2, *[7] * dims))
    spacing = (2.0, 1.0, 0.5)[:dims]
    for row in rows(prediction, truth, {**REGIONS, "rest": (0, 4)}, spacing=spacing):
        values = {**REGIONS, "rest": (0, 4)}[row.name]
        masks = np.isin(prediction, values), np.isin(truth, values)
        for metric in (Dice(), HD95()):
            assert row.values[metric.name] == metric.value(*masks, spacing)
        assert (row.predicted_voxels, row.truth_voxels) == tuple(int(mask.sum()) for mask in masks)
        assert row.image_voxels == truth.size


def test_a_miss_a_false_alarm_and_nothing_are_told_apart():
    prediction, truth = labels(v1=(1, 1, 4), v3=(8, 8, 2)), labels(v1=(1, 1, 4), v2=(6, 6, 2))
    found = rows(prediction, truth, {"a": (1,), "b": (2,), "c": (3,), "d": (4,)})
    assert [row.outcome for row in found] == ["both", "missed", "false_alarm", "absent"]
    dice, hd = ([row.values[name] for row in found] for name in ("dice", "hd95"))
    assert dice[:3] == [1, 0, 0]
    assert hd[:3] == [0, pytest.approx(math.hypot(24, 12)), pytest.approx(math.hypot(24, 12))]
    assert math.isnan(dice[3])
    assert math.isnan(hd[3])


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16, bool])
def test_label_types_give_the_same_rows(kind):
    prediction, truth = labels(v1=(1, 1, 4)), labels(v1=(2, 1, 4))
    assert rows(prediction.astype(kind), truth.astype(kind), {"a": (1,)}) == rows(prediction, truth, {"a": (1,)})


def test_foreground_leaves_out_the_first_class():
    assert Task(kind="segmentation", classes=("bg", "a", "b")).scored == {"a": (1,), "b": (2,)}


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(DataError, match="integers"):
        rows(TRUTH.astype(float))
    with pytest.raises(DataError, match="grid of the truth"):
        rows(TRUTH[1:])
    with pytest.raises(DataError, match="one per axis"):
        rows(TRUTH, spacing=(1.0,))
    with pytest.raises(ConfigError, match="'empty'"):
        rows(TRUTH, classes={"empty": ()})
    with pytest.raises(ConfigError, match="twice"):
        rows(TRUTH, metrics=(Dice(), Dice(empty="perfect")))


def test_nine_misses_of_ten_do_not_read_as_one_good_case():
    truth, near = labels(v1=(3, 3, 4)), labels(v1=(3, 4, 4))
    cases = [rows(near, truth, {"lesion": (1,)})] + [rows(NOTHING, truth, {"lesion": (1,)})] * 9
    [summary] = summarise(cases)
    assert (summary.cases, summary.present, summary.missed, summary.false_alarms, summary.absent) == (10, 10, 9, 0, 0)
    assert summary.mean_found == {"dice": 0.75, "hd95": 1.0}
    assert summary.mean["dice"] == pytest.approx(0.075)
    assert summary.mean["hd95"] == pytest.approx((1 + 9 * math.hypot(24, 12)) / 10)


def test_an_all_empty_class_is_nan_with_its_count_and_never_zero():
    [summary] = summarise([rows(NOTHING, NOTHING, {"lesion": (1,)})] * 3)
    assert (summary.present, summary.absent) == (0, 3)
    assert math.isnan(summary.mean["dice"])
    assert math.isnan(summary.mean_found["dice"])


def test_missing_a_class_never_improves_a_case():
    full = TRUTH.copy()
    for value in (1, 2, 3):
        less = np.where(full == value, 0, full)
        classes = {"a": (1,), "b": (2,), "c": (3,)}
        cases = [rows(full, classes=classes), rows(less, classes=classes)]
        dice, hd = case_values(cases, "dice"), case_values(cases, "hd95")
        assert dice[1] < dice[0]
        assert hd[1] > hd[0]


def test_a_false_alarm_never_improves_a_case():
    classes = {"a": (1,), "b": (2,), "d": (4,)}
    extra = TRUTH.copy()
    extra[11, 11] = 4
    dice = case_values([rows(TRUTH, classes=classes), rows(extra, classes=classes)], "dice")
    assert list(dice) == [1, pytest.approx(2 / 3)]


def test_a_false_alarm_on_an_empty_case_costs_in_a_pair():
    quiet = case_values([rows(NOTHING, NOTHING)], "dice")
    alarmed = case_values([rows(labels(v1=(1, 1, 2)), NOTHING)], "dice")
    assert math.isnan(quiet[0])
    assert alarmed[0] == 0
    np.testing.assert_array_equal(settle_skipped([quiet, alarmed], Dice()), [[1], [0]])
    np.testing.assert_array_equal(settle_skipped([quiet, [5.0]], HD95()), [[0], [5]])
    np.testing.assert_array_equal(settle_skipped([quiet, quiet], Dice()), [[np.nan], [np.nan]])


def test_cases_of_different_classes_are_not_averaged():
    with pytest.raises(DataError, match="same classes"):
        summarise([rows(TRUTH), rows(TRUTH, classes={"a": (1,)})])
    with pytest.raises(DataError, match="at least one"):
        summarise([])


def test_a_collapsed_network_is_named_and_a_healthy_one_is_not():
    classes = {"a": (1,), "b": (2,)}
    truth = labels(v1=(1, 1, 4), v2=(7, 7, 3))
    healthy, only_a = rows(truth, truth, classes, ()), rows(labels(v1=(1, 1, 4)), truth, classes, ())
    nothing = rows(NOTHING, truth, classes, ())
    assert collapse_warning([healthy] * 3) == ""
    assert collapse_warning([healthy, nothing, nothing]) == ""
    assert "background only" in collapse_warning([nothing] * 3)
    assert 'never predicts "b"' in collapse_warning([only_a] * 3)
    assert collapse_warning([rows(NOTHING, NOTHING, classes, ())] * 3) == ""
    assert collapse_warning([]) == ""


def test_scores_of_a_study_say_the_same_as_the_rows_of_synthetic_cases():
    classes, truth = {"a": (1,), "b": (2,)}, labels(v1=(1, 1, 4), v2=(7, 7, 3))
    all_a = np.ones_like(truth)
    for prediction in (truth, labels(v1=(1, 1, 4)), NOTHING, all_a):
        found = rows(prediction, truth, classes, ())
        row = [[score.predicted_voxels for score in found]], [[score.truth_voxels for score in found]]
        counts = [np.array([*part[0] * 3, *[-1] * 2]).reshape(4, 2) for part in row]  # the last has no mask
        scores = MaskScores(classes=("a", "b"), values={}, predicted=counts[0], truth=counts[1])
        assert collapse_of_scores(scores, [truth.size] * 4) == collapse_warning([found] * 3)
    assert "nearly everywhere" in collapse_of_scores(scores, [truth.size] * 4)
    assert "nearly everywhere" not in collapse_of_scores(scores, [2 * truth.size] * 4)


def test_a_flooded_network_is_named():
    truth, everything = labels(v1=(1, 1, 4)), np.ones((12, 12), dtype=int)
    flooded = rows(everything, truth, {"a": (1,)}, ())
    assert '"a" nearly everywhere' in collapse_warning([flooded] * 2)
    assert collapse_warning([flooded, rows(truth, truth, {"a": (1,)}, ())]) == ""
    assert collapse_warning([rows(everything, everything, {"a": (1,)}, ())]) == ""
    with pytest.raises(ConfigError, match="share"):
        collapse_warning([], share=1.0)
