from __future__ import annotations

import numpy as np
import pytest

from allograft.core.errors import DataError
from allograft.stats.label_efficiency import LabelsNeeded, label_curve, label_saving, labels_needed

CURVE = label_curve({200: [0.9, 0.92, 0.91], 20: [0.6, 0.7, 0.65], 50: [0.86, 0.9, 0.85], 100: [0.8, 0.84, 0.82]})


def test_points_are_ordered_and_carry_their_interval() -> None:
    assert [point.labels for point in CURVE] == [20, 50, 100, 200]
    assert CURVE[0].mean == pytest.approx(0.65)
    assert CURVE[0].interval.low < 0.65 < CURVE[0].interval.high
    assert CURVE[0].n == 3


def test_nothing_is_interpolated() -> None:
    assert labels_needed(CURVE, 0.85) == LabelsNeeded(200, 100)
    assert labels_needed(CURVE, 0.95) == LabelsNeeded(None, 200)
    assert labels_needed(CURVE, 0.5) == LabelsNeeded(20, 0)


def test_a_lucky_point_counts_only_when_asked_for() -> None:
    assert labels_needed(CURVE, 0.85, lasting=False) == LabelsNeeded(50, 20)


def test_losses_fall() -> None:
    falling = label_curve({10: [1.0, 1.1], 20: [0.4, 0.5]})
    assert labels_needed(falling, 0.5, larger_is_better=False).labels == 20


def test_saving_is_a_range() -> None:
    assert label_saving(LabelsNeeded(None, 200), LabelsNeeded(50, 20)) == (4.0, float("inf"))
    assert label_saving(LabelsNeeded(200, 100), LabelsNeeded(None, 200)) == (0.0, 1.0)


def test_refuses_empty_points() -> None:
    with pytest.raises(DataError, match="no values at 20"):
        label_curve({20: np.array([])})
    with pytest.raises(DataError, match="at least one"):
        label_curve({})
