from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from allograft.core.errors import DataError
from allograft.stats.intervals import mean_interval, t_interval, wilson_interval


def test_t_equals_scipy() -> None:
    values = np.random.default_rng(0).normal(size=9)
    judge = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert t_interval(values, 0.9)[:2] == pytest.approx(tuple(judge))


def test_the_rule_changes_at_forty() -> None:
    values = np.random.default_rng(0).lognormal(size=40)
    assert mean_interval(values[:39]).method == "t"
    assert mean_interval(values).method == "BCa"
    # BCa follows the skew, t cannot.
    low, high = mean_interval(values)[:2]
    assert high - values.mean() > 1.1 * (values.mean() - low)


def test_one_value_has_no_interval_and_nan_is_refused() -> None:
    assert np.isnan(mean_interval(np.array([1.0]))[:2]).all()
    with pytest.raises(DataError, match="finite"):
        mean_interval(np.array([1.0, np.nan, 2.0]))


def test_equal_values_have_the_interval_of_a_full_proportion() -> None:
    found = mean_interval(np.ones(15))
    assert found.method == "no spread"
    assert found.low == pytest.approx(stats.binomtest(15, 15).proportion_ci(method="exact").low)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 7), (81, 263)])
def test_wilson_equals_scipy(k: int, n: int) -> None:
    judge = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert wilson_interval(k, n)[:2] == pytest.approx((judge.low, judge.high), abs=1e-12)


def test_wilson_of_nothing_is_undefined_and_more_than_all_is_refused() -> None:
    assert np.isnan(wilson_interval(0, 0)[:2]).all()
    with pytest.raises(DataError, match="successes"):
        wilson_interval(6, 5)
