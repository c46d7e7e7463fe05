from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from allograft.core.errors import DataError
from allograft.stats.bootstrap import bootstrap_difference
from allograft.stats.paired import compare_sets, compare_units, paired_evidence
from allograft.stats.verdict import Arms


def _arms(n: int, gap: float, sd: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = rng.normal(size=n)
    return b + gap + sd * rng.normal(size=n), b


def test_few_units_use_paired_t_as_scipy_computes_it() -> None:
    a, b = _arms(12, 0.8)
    found = compare_units(a, b, unit="strip", margin=0.1)
    judge = stats.ttest_rel(a, b)
    assert found.test == "paired t"
    assert found.p == pytest.approx(judge.pvalue)
    assert found.ci == pytest.approx(tuple(judge.confidence_interval(0.95)))
    assert found.ci_equivalence == pytest.approx(tuple(judge.confidence_interval(0.90)))
    assert found.also["Wilcoxon signed-rank"] == pytest.approx(stats.wilcoxon(a, b).pvalue)


def test_from_forty_units_on_the_bootstrap_decides_and_t_stands_beside_it() -> None:
    assert compare_units(*_arms(39, 0.5), unit="patient", margin=0.1).test == "paired t"
    a, b = _arms(40, 0.5)
    found = compare_units(a, b, unit="patient", margin=0.1)
    assert found.test == "BCa bootstrap"
    assert found.also["paired t"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    judge = stats.bootstrap((a - b,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(0))
    assert found.ci == pytest.approx(tuple(judge.confidence_interval), abs=0.03)


@settings(max_examples=10, deadline=None)
@given(n=st.integers(6, 60), gap=st.floats(-1, 1), seed=st.integers(0, 99))
def test_swapping_the_arms_mirrors_the_numbers(n, gap, seed) -> None:
    a, b = _arms(n, gap, seed=seed)
    one = compare_units(a, b, unit="patient", margin=0.1)
    other = compare_units(b, a, unit="patient", margin=0.1)
    assert other.difference == pytest.approx(-one.difference)
    assert other.ci == pytest.approx((-one.ci[1], -one.ci[0]), abs=1e-6)
    assert other.p == pytest.approx(one.p, abs=1e-6)
    assert other.verdict == one.verdict


@settings(max_examples=10, deadline=None)
@given(shift=st.floats(-100, 100), n=st.sampled_from([8, 45]))
def test_only_differences_count(shift, n) -> None:
    a, b = _arms(n, 0.3)
    one = compare_units(a, b, unit="patient", margin=0.1)
    other = compare_units(a + shift, b + shift, unit="patient", margin=0.1)
    assert other.ci == pytest.approx(one.ci, abs=1e-9)


def test_pairing_matters() -> None:
    a, b = _arms(12, 0.3, sd=0.1)
    assert compare_units(a, b, unit="patient", margin=0.1).verdict == "better"
    shuffled = np.random.default_rng(1).permutation(b)
    assert compare_units(a, shuffled, unit="patient", margin=0.1).verdict == "no detectable difference"


def test_smaller_is_better_turns_the_difference_and_keeps_the_raw_one() -> None:
    a, b = _arms(12, 0.8, sd=0.1)
    loss = Arms(a="x", b="y", metric="log loss", larger_is_better=False)
    found = compare_units(a, b, unit="patient", margin=0.1, arms=loss)
    assert (found.a, found.b) == ("x", "y")
    assert found.raw_difference == pytest.approx(np.mean(a - b))
    assert found.difference == pytest.approx(-found.raw_difference)
    assert found.ci[0] < found.difference < found.ci[1] < 0
    assert found.sentence().startswith("y is better than x by 0.")


def test_units_that_all_agree_do_not_claim_certainty() -> None:
    b = np.arange(12.0) / 20
    same = compare_units(b, b, unit="patient", margin=0.02)
    assert (same.difference, same.p, same.verdict) == (0.0, 1.0, "no detectable difference")
    assert "every unit has the same difference" in same.sentence()
    # Clopper-Pearson: 12 of 12 agree, so up to 22 % of patients may not (one-sided 95 %).
    bound = stats.binomtest(12, 12).proportion_ci(0.90, method="exact").low
    assert same.ci_equivalence == pytest.approx((bound - 1, 1 - bound))
    many = np.zeros(200)
    assert compare_units(many, many, unit="patient", margin=0.02).verdict == "equivalent"


def test_a_constant_gap_is_judged_by_signs() -> None:
    six = compare_units(np.ones(6), np.zeros(6), unit="patient", margin=0.02)
    assert (six.test, six.verdict) == ("sign test", "better")
    assert six.p == pytest.approx(stats.binomtest(6, 6).pvalue)
    assert compare_units(np.full(6, 0.1), np.zeros(6), unit="patient", margin=0.02).verdict != "better"


def test_fewer_than_six_units_claim_nothing_however_large_the_difference() -> None:
    for n in range(6):
        a, b = _arms(n, 50.0, sd=0.1)
        assert compare_units(a, b, unit="strip", margin=0.1).verdict == "cannot tell"
    assert compare_units(*_arms(6, 50.0, sd=0.1), unit="strip", margin=0.1).verdict == "better"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_undefined_values_rather_than_dropping_them(bad) -> None:
    a, b = _arms(10, 0.0)
    a[3] = bad
    with pytest.raises(DataError, match="unit 3"):
        compare_units(a, b, unit="patient", margin=0.1)


def test_refuses_unpaired_lengths() -> None:
    with pytest.raises(DataError, match="one value per unit and arm"):
        compare_units(np.zeros(7), np.zeros(8), unit="patient", margin=0.1)


@pytest.mark.parametrize(("n", "trials"), [(8, 300), (45, 200)])
def test_false_alarms_on_synthetic_equal_arms_are_near_five_percent(n: int, trials: int) -> None:
    rng = np.random.default_rng(11)
    found = [paired_evidence(rng.normal(size=n), rng.normal(size=n), resamples=400) for _ in range(trials)]
    alarms = sum(one.p < 0.05 for one in found)
    assert stats.binomtest(alarms, trials, 0.05).pvalue > 0.005
    assert sum(one.p < 0.05 for one in found) == pytest.approx(
        sum(not one.ci[0] <= 0 <= one.ci[1] for one in found), abs=2
    )


def test_sets_below_forty_units_use_the_jackknife_and_t() -> None:
    a, b = _arms(12, 0.8)
    units = [str(i) for i in range(12)]
    draws = bootstrap_difference(lambda c: float((a - b)[c].mean()), units, resamples=0)
    found = compare_sets(draws, unit="strip", margin=0.1)
    assert found.test == "jackknife t"
    # For a mean the jackknife is exact, so this is the paired t test again.
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_sets_whose_metric_hangs_on_one_unit_cannot_be_told() -> None:
    truth = np.array([1] + [0] * 9)

    def recall(cases: np.ndarray) -> float:
        return 1.0 if truth[cases].any() else float("nan")

    found = compare_sets(bootstrap_difference(recall, [str(i) for i in range(10)], resamples=0), unit="p", margin=0.1)
    assert found.verdict == "cannot tell"
    assert "undefined" in found.sentence()
