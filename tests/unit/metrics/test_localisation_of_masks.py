"""Localisation: centroids of cuboids, matching that ignores numbering, misses that cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allograft.core.errors import ConfigError, DataError
from allograft.metrics.segmentation.localisation import Localisation, centroids

SPACING = (2.0, 1.0, 0.5)
PLACES = [(2, 2, 2), (2, 2, 20), (2, 14, 2), (12, 14, 20)]
CLASSES = {"L1": (1,), "L2": (2,), "L3": (3,), "L4": (4,)}


def column(places, numbers=None):
    """Return synthetic vertebrae: 3 x 3 x 4 boxes at `places` in a 16 x 20 x 28 image."""
    out = np.zeros((16, 20, 28), dtype=np.int32)
    for number, (a, b, c) in zip(numbers or range(1, len(places) + 1), places, strict=True):
        out[a : a + 3, b : b + 3, c : c + 4] = number
    return out


TRUTH = column(PLACES)


def components(prediction, truth=TRUTH, **settings):
    return Localisation(**settings).match_components(prediction > 0, truth > 0, SPACING)


def named(prediction, **settings):
    return Localisation(**settings).match_labels(prediction, TRUTH, CLASSES, SPACING)


def test_the_centroid_of_a_synthetic_cuboid_is_its_centre_in_mm():
    [centre] = centroids(column([(3, 5, 7)]) > 0, SPACING)
    np.testing.assert_allclose(centre, np.multiply((4, 6, 8.5), SPACING))


def test_components_come_largest_first_and_small_ones_can_be_dropped():
    mask = np.zeros((8, 8), dtype=bool)
    mask[0, 0] = mask[2, 2] = mask[3, 3] = True  # the last two touch at a corner: one component
    mask[5:8, 5:8] = True
    np.testing.assert_allclose(centroids(mask, (1, 2)), [[6, 12], [2.5, 5], [0, 0]])
    assert len(centroids(mask, (1, 2), min_mm=4)) == 2
    assert centroids(mask, (1, 2), min_mm=100).shape == (0, 2)


@pytest.mark.parametrize("match", [components, named])
def test_a_known_shift_is_the_error_in_mm(match):
    score = match(column([(a + 1, b, c + 1) for a, b, c in PLACES]))
    assert (score.true, score.predicted, score.missed, score.false_alarms) == (4, 4, 0, 0)
    for error in (score.error_mm, score.penalised_mm, score.error_found_mm):
        assert error == pytest.approx(math.hypot(2, 0.5))
    assert score.identification_rate == 1


def test_numbering_changes_components_not_at_all_and_names_very_much():
    swapped = column(PLACES, [2, 1, 3, 4])
    assert components(swapped) == components(TRUTH)
    assert components(swapped).error_mm == 0
    assert named(swapped).error_mm == pytest.approx((9 + 9 + 0 + 0) / 4)
    assert named(swapped).identification_rate == 0.5  # 9 mm off, below 20 mm, but another one is nearer


def test_identification_needs_the_distance_too():
    moved = column([(2, 2, 2), (2, 2, 20), (2, 14, 2), (12, 14, 10)])
    assert named(moved).identification_rate == 1
    assert named(moved, within_mm=5).identification_rate == 0.75
    assert components(moved, within_mm=5).identification_rate == 0.75


@pytest.mark.parametrize("match", [components, named])
def test_a_miss_counts_the_diagonal_and_more_misses_are_never_better(match):
    diagonal = math.hypot(32, 20, 14)
    shifted = [(a, b + 1, c) for a, b, c in PLACES]
    errors = []
    for kept in (4, 3, 2, 1, 0):
        score = match(column(shifted[:kept]))
        assert score.missed == 4 - kept
        assert score.error_mm == pytest.approx((kept * 1 + (4 - kept) * diagonal) / 4)
        errors.append(score.error_mm)
    assert errors == sorted(errors)
    assert errors[-1] == pytest.approx(diagonal)
    assert math.isnan(match(column([])).error_found_mm)
    assert match(column([])).identification_rate == 0


def test_false_alarms_are_counted_and_penalised():
    diagonal = math.hypot(32, 20, 14)
    extra = TRUTH.copy()
    extra[14, 1, 1] = 1
    score = components(extra)
    assert (score.missed, score.false_alarms, score.error_mm) == (0, 1, 0)
    assert score.penalised_mm == pytest.approx(diagonal / 5)
    assert components(extra, min_mm=2.0).false_alarms == 0
    assert named(extra).false_alarms == 0  # the largest component stands for its name
    nothing_there = components(TRUTH, np.zeros_like(TRUTH))
    assert math.isnan(nothing_there.error_mm)
    assert nothing_there.penalised_mm == pytest.approx(diagonal)


def test_nothing_true_and_nothing_predicted_has_no_value():
    score = components(np.zeros_like(TRUTH), np.zeros_like(TRUTH))
    assert math.isnan(score.penalised_mm)
    assert math.isnan(score.identification_rate)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(1, 5))
def test_dropping_a_synthetic_component_never_improves(seed, predicted, true):
    noise = np.random.default_rng(seed)

    def points(count):
        mask = np.zeros((9, 9), dtype=bool)
        mask[::2, ::2].flat[noise.choice(25, size=count, replace=False)] = True
        return mask

    prediction, truth = points(predicted), points(true)
    before = Localisation().match_components(prediction, truth, (1, 1))
    for place in np.argwhere(prediction):
        less = prediction.copy()
        less[tuple(place)] = False
        assert Localisation().match_components(less, truth, (1, 1)).error_mm >= before.error_mm - 1e-9


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="expected bool"):
        Localisation().match_components(TRUTH, TRUTH, SPACING)
    with pytest.raises(ConfigError, match="L9"):
        Localisation().match_labels(TRUTH, TRUTH, {"L9": ()}, SPACING)
