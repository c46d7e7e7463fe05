from __future__ import annotations

import numpy as np
import pytest

from allograft.core.errors import DataError
from allograft.stats.units import paired_unit_means, unit_index


def test_every_unit_weighs_the_same_however_many_images_it_has() -> None:
    a = np.array([1.0, 1.0, 1.0, 0.0])
    found = paired_unit_means(a, np.zeros(4), ["p1", "p1", "p1", "p2"])
    assert found.units == ("p1", "p2")
    assert found.a.tolist() == [1.0, 0.0]
    assert found.a.mean() == 0.5  # over images it would have been 0.75


def test_cases_without_a_value_leave_both_arms() -> None:
    a, b = np.array([1.0, np.nan, 3.0, 4.0]), np.array([1.0, 1.0, np.nan, 2.0])
    found = paired_unit_means(a, b, ["p1", "p1", "p2", "p3"])
    assert found.units == ("p1", "p3")
    assert found.dropped == ("p2",)
    assert (found.a.tolist(), found.b.tolist()) == ([1.0, 4.0], [1.0, 2.0])


def test_order_is_that_of_first_appearance() -> None:
    names, index = unit_index(["b", "a", "b"])
    assert names == ("b", "a")
    assert index.tolist() == [0, 1, 0]


def test_refuses_other_lengths_and_infinity() -> None:
    with pytest.raises(DataError, match="one value per case"):
        paired_unit_means(np.zeros(3), np.zeros(3), ["p1", "p2"])
    with pytest.raises(DataError, match="infinity"):
        paired_unit_means(np.array([np.inf]), np.zeros(1), ["p1"])
