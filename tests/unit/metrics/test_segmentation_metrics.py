"""Segmentation metrics: closed forms on cuboids, brute-force distances, and what no miss may do."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from allograft.core.errors import DataError
from allograft.metrics.segmentation import MASK_METRICS
from allograft.metrics.segmentation.assd import ASSD
from allograft.metrics.segmentation.dice import Dice
from allograft.metrics.segmentation.hd95 import HD95
from allograft.metrics.segmentation.iou import IoU
from allograft.metrics.segmentation.localisation import centroids
from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.relative_volume_difference import RelativeVolumeDifference
from allograft.metrics.segmentation.surface_dice import SurfaceDice
from allograft.metrics.segmentation.volume_difference import VolumeDifference

ALL = pytest.mark.parametrize("metric", [make() for make in MASK_METRICS.values()], ids=list(MASK_METRICS))
QUICK = settings(max_examples=40, deadline=None)
SPACING = (3.0, 1.25, 0.5)


def cuboid(shape, start, size):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
    return mask


def surface_points(mask, spacing):
    """Return the surface element by element: a face neighbour outside the mask or the image."""
    found = []
    for index in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                near = index.copy()
                near[axis] += step
                if mask.shape[axis] > 1 and (not 0 <= near[axis] < mask.shape[axis] or not mask[tuple(near)]):
                    found.append(tuple(index))
    return np.array(sorted(set(found))) * spacing


def score_is_not_better(metric, value, other):
    return value <= other if metric.larger_is_better else value >= other


@st.composite
def pairs(draw, *, prediction_may_be_empty=False):
    """Two synthetic masks of noise, 2-D or 3-D, and a spacing."""
    dims = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=dims, max_size=dims)))
    spacing = tuple(draw(st.lists(st.floats(0.2, 5), min_size=dims, max_size=dims)))
    noise = np.random.default_rng(draw(st.integers(0, 2**32)))
    prediction, truth = (noise.random(shape) < draw(st.floats(0.05, 0.95)) for _ in range(2))
    truth.flat[draw(st.integers(0, truth.size - 1))] = True
    if not prediction_may_be_empty:
        prediction.flat[draw(st.integers(0, truth.size - 1))] = True
    return prediction, truth, spacing


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [1, 2])
def test_shifted_synthetic_cuboids_have_the_closed_form(axis, shift):
    size, start = (4, 6, 8), (3, 3, 3)
    truth = cuboid((14, 14, 16), start, size)
    moved = list(start)
    moved[axis] += shift
    prediction = cuboid(truth.shape, moved, size)
    overlap = (size[axis] - shift) / size[axis]
    assert Dice().value(prediction, truth, SPACING) == pytest.approx(overlap)
    assert IoU().value(prediction, truth, SPACING) == pytest.approx(overlap / (2 - overlap))
    assert VolumeDifference().value(prediction, truth, SPACING) == 0
    assert RelativeVolumeDifference().value(prediction, truth, SPACING) == 0
    # The two faces across the shift hold more than 5 % of the surface: they decide the percentile.
    assert HD95().value(prediction, truth, SPACING) == pytest.approx(shift * SPACING[axis])
    assert SurfaceDice(tolerance_mm=shift * SPACING[axis]).value(prediction, truth, SPACING) == 1
    assert SurfaceDice(tolerance_mm=shift * SPACING[axis] * 0.99).value(prediction, truth, SPACING) < 1


def test_shifted_synthetic_squares_have_the_assd_counted_by_hand():
    # 4 x 4 squares, one step apart along the axis of 2 mm; each surface has 12 elements. On the front
    # face of the prediction 4 elements lie 2 mm off; of its back face the two corners lie on the
    # truth's sides, the two inner ones 1 mm (the other axis) from them. By symmetry so does the truth.
    truth, prediction = cuboid((8, 8), (2, 2), (4, 4)), cuboid((8, 8), (3, 2), (4, 4))
    assert ASSD().value(prediction, truth, (2.0, 1.0)) == pytest.approx((4 * 2 + 2 * 1) / 12)
    assert HD95().value(prediction, truth, (2.0, 1.0)) == 2
    assert SurfaceDice(tolerance_mm=1).value(prediction, truth, (2.0, 1.0)) == pytest.approx(8 / 12)


@pytest.mark.parametrize(("spacing", "expected"), [((1, 1, 1), 3.0), ((2, 1, 1), 3.0), ((2, 0.5, 1), 1.5)])
def test_parallel_synthetic_plates_are_as_far_apart_as_their_spacing_says(spacing, expected):
    truth, prediction = cuboid((9, 9, 9), (2, 1, 2), (4, 1, 4)), cuboid((9, 9, 9), (2, 4, 2), (4, 1, 4))
    for metric in (HD95(), ASSD()):
        assert metric.value(prediction, truth, spacing) == pytest.approx(expected)


def test_volumes_are_in_mm():
    truth, prediction = cuboid((6, 6, 6), (1, 1, 1), (4, 4, 4)), cuboid((6, 6, 6), (1, 1, 1), (4, 4, 3))
    assert VolumeDifference().value(prediction, truth, SPACING) == pytest.approx(16 * 3 * 1.25 * 0.5)
    assert RelativeVolumeDifference().value(prediction, truth, SPACING) == pytest.approx(0.25)
    assert RelativeVolumeDifference().value(truth, prediction, SPACING) == pytest.approx(0.25)


@QUICK
@given(pairs())
def test_distances_of_synthetic_noise_equal_brute_force(pair):
    prediction, truth, spacing = pair
    assume(truth.size > 1)  # an image of one element has no neighbours at all
    own, other = surface_points(prediction, spacing), surface_points(truth, spacing)
    distance = cdist(own, other)
    there, back = distance.min(1), distance.min(0)
    both = np.concatenate([there, back])
    assert HD95().value(*pair) == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-9)
    assert ASSD().value(*pair) == pytest.approx(both.mean(), abs=1e-9)
    tolerance = float(np.median(both)) + 1e-3
    assert SurfaceDice(tolerance_mm=tolerance).value(*pair) == pytest.approx(np.mean(both <= tolerance))


@ALL
@QUICK
@given(pair=pairs())
def test_metrics_are_symmetric_and_perfect_on_the_same_mask(metric, pair):
    prediction, truth, spacing = pair
    assert metric.value(prediction, truth, spacing) == pytest.approx(metric.value(truth, prediction, spacing))
    assert metric.value(truth, truth, spacing) == metric.best
    assert metric.low <= metric.value(prediction, truth, spacing) <= metric.high


@ALL
@QUICK
@given(pair=pairs())
def test_no_prediction_is_worse_than_a_miss_or_a_false_alarm(metric, pair):
    prediction, truth, spacing = pair
    nothing, value = np.zeros_like(truth), metric.value(prediction, truth, spacing)
    for empty in (metric.value(nothing, truth, spacing), metric.value(prediction, nothing, spacing)):
        assert math.isfinite(empty)
        assert score_is_not_better(metric, empty, value)
        assert empty != metric.best


@ALL
def test_a_miss_is_worse_than_the_worst_that_can_be_predicted(metric):
    # The far corner, and the whole image, for a structure of one element in the other corner.
    truth, nothing = cuboid((5, 6), (0, 0), (1, 1)), np.zeros((5, 6), dtype=bool)
    missed = metric.value(nothing, truth, (2, 1))
    for prediction in (cuboid((5, 6), (4, 5), (1, 1)), np.ones((5, 6), dtype=bool)):
        assert score_is_not_better(metric, missed, metric.value(prediction, truth, (2, 1)))
    if metric.unit:
        assert missed > metric.value(np.ones((5, 6), dtype=bool), truth, (2, 1))


def test_the_values_of_a_miss_are_as_stated():
    truth, nothing = cuboid((3, 4), (0, 0), (1, 1)), np.zeros((3, 4), dtype=bool)
    values = {name: make().value(nothing, truth, (1, 1)) for name, make in MASK_METRICS.items()}
    assert values == {
        "dice": 0,
        "iou": 0,
        "surface_dice": 0,
        "hd95": 5,
        "assd": 5,
        "volume_difference": 12,
        "relative_volume_difference": 1,
        "localisation_error": 5,
    }


@ALL
def test_two_empty_masks_follow_the_stated_policy(metric):
    nothing = np.zeros((3, 4), dtype=bool)
    assert metric.empty == "skip"
    assert math.isnan(metric.value(nothing, nothing, (1, 1)))
    perfect = type(metric)(empty="perfect")
    assert perfect.value(nothing, nothing, (1, 1)) == metric.best
    assert perfect.value(nothing, ~nothing, (1, 1)) != metric.best


def differ(prediction, truth):
    return len(centroids(prediction, (1, 1))) != len(centroids(truth, (1, 1)))


@ALL
@QUICK
@given(pair=pairs())
def test_a_slice_equals_a_volume_of_one_slice(metric, pair):
    prediction, truth, spacing = pair
    if truth.ndim == 3:
        prediction, truth, spacing = prediction[0], truth[0], spacing[1:]
    flat = metric.value(prediction, truth, spacing)
    for axis in range(3):
        thick = (*spacing[:axis], 1.0, *spacing[axis:])
        deep = metric.value(np.expand_dims(prediction, axis), np.expand_dims(truth, axis), thick)
        if metric.name == "localisation_error" and differ(prediction, truth):
            assert deep >= flat  # components without a partner count the diagonal, which has one more side
        elif truth.any() == prediction.any() or metric.unit != "mm":
            assert deep == pytest.approx(flat, nan_ok=True)
        else:  # the diagonal has one more side
            assert deep == pytest.approx(math.hypot(flat, 1.0))


@QUICK
@given(
    st.lists(st.integers(7, 12), min_size=2, max_size=3),
    st.lists(st.floats(0.2, 5), min_size=3, max_size=3),
)
def test_eroding_a_synthetic_cuboid_further_is_never_better(size, spacing):
    shape, spacing = [n + 2 for n in size], spacing[: len(size)]
    truth = cuboid(shape, [1] * len(size), size)
    eroded = [cuboid(shape, [1 + k] * len(size), [n - 2 * k for n in size]) for k in range(4)]
    for metric in (make() for make in MASK_METRICS.values()):
        values = [metric.value(mask, truth, spacing) for mask in eroded]
        assert values[0] == metric.best
        for nearer, further in pairwise(values):
            assert score_is_not_better(metric, further, nearer + (1e-9 if metric.larger_is_better else -1e-9))
    depths = [HD95().value(mask, truth, spacing) for mask in eroded]
    # 95 % of the true surface of so small a cuboid reaches beyond the faces, below the corner's distance.
    for k, depth in enumerate(depths):
        assert k * min(spacing) - 1e-9 <= depth <= k * math.hypot(*spacing) + 1e-9


def test_dice_is_a_function_of_iou():
    noise = np.random.default_rng(0)
    a, b = noise.random((2, 5, 6, 7)) > 0.4
    iou = IoU().value(a, b, (1, 1, 1))
    assert Dice().value(a, b, (1, 1, 1)) == pytest.approx(2 * iou / (1 + iou))


def test_cutting_the_masks_out_of_the_image_changes_nothing():
    noise = np.random.default_rng(1)
    prediction, truth = np.zeros((2, 12, 9, 10), dtype=bool)
    prediction[3:8, 2:6, 0:5], truth[4:9, 2:7, 0:4] = noise.random((5, 4, 5)) > 0.3, noise.random((5, 5, 4)) > 0.3
    cut = MaskPair(prediction[3:9, 2:7, :5], truth[3:9, 2:7, :5], SPACING, shape=prediction.shape)
    for make in MASK_METRICS.values():
        assert make().of(cut) == pytest.approx(make().value(prediction, truth, SPACING), rel=1e-12)


def test_a_mask_in_one_slice_of_many_is_all_surface():
    truth = cuboid((3, 5, 5), (1, 0, 0), (1, 5, 5))
    assert len(MaskPair(truth, truth, SPACING).distances.to_truth) == 25
    assert len(MaskPair(truth[1], truth[1], SPACING[1:]).distances.to_truth) == 16


@pytest.mark.parametrize(
    ("prediction", "truth", "spacing", "message"),
    [
        (np.zeros((3, 3)), np.zeros((3, 3), bool), (1, 1), "expected bool"),
        (np.zeros((3, 4), bool), np.zeros((3, 3), bool), (1, 1), r"\(3, 4\)"),
        (np.zeros(3, bool), np.zeros(3, bool), (1,), "2-D or 3-D"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, 1, 1), "one per axis"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, 0), "positive"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, float("nan")), "positive"),
    ],
)
def test_what_cannot_be_compared_is_refused(prediction, truth, spacing, message):
    with pytest.raises(DataError, match=message):
        Dice().value(prediction, truth, spacing)
