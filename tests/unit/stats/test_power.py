from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from allograft.stats.power import power_of, units_needed


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_units_for_small_medium_and_large_effects_as_in_power_tables(effect: float, n: int) -> None:
    assert units_needed(1.0, effect) == n
    assert units_needed(0.04, 0.04 * effect) == n


def test_power_equals_simulation_of_synthetic_pairs() -> None:
    draws = np.random.default_rng(0).normal(0.5, 1, (20000, 20))
    seen = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)
    assert power_of(20, 1.0, 0.5) == pytest.approx(seen, abs=0.01)


def test_it_is_the_smallest_number() -> None:
    for effect in (0.1, 0.3, 1.0, 2.0):
        n = units_needed(1.0, effect)
        assert n is not None
        assert power_of(n, 1.0, effect) >= 0.8 > power_of(n - 1, 1.0, effect)


def test_large_numbers_follow_the_normal_law() -> None:
    n = units_needed(1.0, 0.05)
    assert n == pytest.approx(((1.959964 + 0.841621) / 0.05) ** 2, abs=4)
    assert power_of(int(n), 1.0, 0.05) == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize(("sd", "gap"), [(float("nan"), 0.1), (1.0, 0.0), (1.0, float("nan")), (1.0, 1e-9)])
def test_no_number_where_none_makes_sense(sd, gap) -> None:
    assert units_needed(sd, gap) is None


def test_no_spread_needs_hardly_any() -> None:
    assert units_needed(0.0, 0.1) == 2
