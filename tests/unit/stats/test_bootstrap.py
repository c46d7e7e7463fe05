from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from allograft.core.errors import DataError
from allograft.stats.bootstrap import Replicates, bootstrap_difference, bootstrap_values, cluster_replicates


@pytest.mark.parametrize(
    ("statistic", "n"), [(np.mean, 2), (np.mean, 7), (np.mean, 60), (np.median, 7), (np.median, 60), (np.std, 60)]
)
def test_bca_equals_scipy_on_the_same_draws(statistic, n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    ours = bootstrap_values(values, statistic, resamples=999, seed=5).interval(0.9)
    judge = stats.bootstrap(
        (values,), statistic, n_resamples=999, confidence_level=0.9, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    assert ours == pytest.approx((judge.low, judge.high), rel=1e-9)


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap_values(values, resamples=500, seed=1).boot
    monkeypatch.setattr("allograft.stats.bootstrap.CHUNK", 333)
    assert np.array_equal(bootstrap_values(values, resamples=500, seed=1).boot, whole)


def test_seed_decides_the_draws() -> None:
    values = np.arange(10.0)
    assert bootstrap_values(values, seed=1).interval() == bootstrap_values(values, seed=1).interval()
    assert bootstrap_values(values, seed=1).interval() != bootstrap_values(values, seed=2).interval()


@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-2, 2), scale=st.floats(0.3, 3), seed=st.integers(0, 50))
def test_p_is_below_five_percent_exactly_where_the_interval_leaves_out_zero(shift, scale, seed) -> None:
    values = np.random.default_rng(seed).exponential(scale, 45) - scale + shift * scale / 4
    found = bootstrap_values(values, resamples=999, seed=seed)
    p = found.p_value()
    if abs(p - 0.05) > 0.004:  # within a draw or two of the border the quantile's interpolation decides
        low, high = found.interval()
        assert (p < 0.05) == (not low <= 0 <= high)


def test_p_at_the_end_of_an_interval_is_its_level() -> None:
    found = bootstrap_values(np.random.default_rng(3).lognormal(size=60), resamples=9999, seed=0)
    for level in (0.8, 0.9, 0.95):
        for end in found.interval(level):
            assert found.p_value(null=end) == pytest.approx(1 - level, abs=0.003)


def test_p_beyond_the_draws_is_students_and_grows_towards_the_estimate() -> None:
    values = np.random.default_rng(3).normal(5, 1, size=60)
    found = bootstrap_values(values, resamples=999, seed=0)
    assert found.p_value(null=0.0) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert found.p_value(null=float(found.boot.min()) - 1e-9) <= 2 / 1000
    assert found.p_value(null=found.observed) > 0.8


def test_equal_values_give_an_interval_of_no_width() -> None:
    assert bootstrap_values(np.full(50, 0.3)).interval() == pytest.approx((0.3, 0.3))


@pytest.mark.parametrize("values", [[1.0], [], [1.0, np.nan], [[1.0, 2.0]]])
def test_refuses_what_cannot_be_resampled(values) -> None:
    with pytest.raises(DataError, match="at least 2 finite"):
        bootstrap_values(np.array(values))


def test_clusters_of_one_case_equal_the_plain_bootstrap() -> None:
    values = np.random.default_rng(2).normal(size=30)
    units = [f"u{i}" for i in range(30)]
    clusters = bootstrap_difference(lambda cases: float(values[cases].mean()), units, resamples=3000, seed=4)
    plain = bootstrap_values(values, resamples=3000, seed=4)
    assert clusters.interval() == pytest.approx(plain.interval(), abs=0.03)
    assert clusters.jackknife_error() == pytest.approx(values.std(ddof=1) / np.sqrt(30))


def test_cases_of_one_unit_stay_together_so_copies_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(2).normal(size=20)
    units = [f"u{i}" for i in range(20)]
    once = bootstrap_difference(lambda c: float(values[c].mean()), units, resamples=800)
    copied = np.repeat(values, 10)
    ten = bootstrap_difference(lambda c: float(copied[c].mean()), list(np.repeat(units, 10)), resamples=800)
    as_if_free = bootstrap_difference(lambda c: float(copied[c].mean()), [str(i) for i in range(200)], resamples=800)
    width = [float(np.diff(r.interval())[0]) for r in (once, ten, as_if_free)]
    assert width[1] == pytest.approx(width[0])
    assert width[2] < 0.5 * width[0]  # the check can say no: images counted as patients


def test_arms_share_draws_so_equal_arms_differ_by_exactly_nothing() -> None:
    values = np.random.default_rng(2).normal(size=25)
    both = cluster_replicates(lambda c: np.full(2, values[c].mean()), [str(i) for i in range(25)], resamples=200)
    assert np.all(both.difference(0, 1).boot == 0)
    assert both.arm(1).interval() == both.arm(0).interval()


def test_draws_without_a_value_are_counted_and_too_many_give_no_interval() -> None:
    truth = np.array([1] + [0] * 19)
    one_positive = bootstrap_difference(
        lambda c: 0.5 if 0 < truth[c].sum() < len(c) else float("nan"), [str(i) for i in range(20)], resamples=300
    )
    assert one_positive.undefined > 50
    assert np.isnan(one_positive.interval()).all()
    assert np.isnan(one_positive.p_value())
    few = Replicates(observed=0.0, boot=np.arange(-500.0, 500.0), jackknife=np.arange(9.0), undefined=10)
    assert np.isfinite(few.interval()).all()


def test_one_unit_cannot_be_resampled() -> None:
    with pytest.raises(DataError, match="at least 2 independent units"):
        bootstrap_difference(lambda cases: 0.0, ["p1", "p1"])
