from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from allograft.core.errors import DataError
from allograft.stats.bootstrap import bootstrap_difference
from allograft.stats.delong import delong, delong_evidence, rank_auroc
from allograft.stats.intervals import no_spread_half

Y = np.array([0, 0, 1, 1, 0, 1, 0, 1, 0, 1])
S1 = np.array([0.1, 0.4, 0.35, 0.8, 0.2, 0.7, 0.6, 0.65, 0.3, 0.9])
S2 = np.array([0.2, 0.3, 0.5, 0.6, 0.4, 0.4, 0.7, 0.9, 0.1, 0.55])
PATIENTS = [f"p{i}" for i in range(10)]


def test_worked_values() -> None:
    found = delong(Y, [S1, S2], PATIENTS)
    assert found.auroc == pytest.approx([0.92, 0.82])
    assert found.covariance == pytest.approx(np.array([[0.0088, 0.0048], [0.0048, 0.0268]]))
    evidence = delong_evidence(found)
    assert evidence.difference / evidence.se == pytest.approx(0.620173673)
    assert evidence.p == pytest.approx(0.535143453)
    assert evidence.n_units == 10


def _by_double_loop(y, scores):
    placed = []
    for s in scores:
        kernel = [[float(x > z) + 0.5 * float(x == z) for z in s[y == 0]] for x in s[y == 1]]
        placed.append((np.mean(kernel, axis=1), np.mean(kernel, axis=0)))
    positive, negative = np.cov([p for p, _ in placed]), np.cov([n for _, n in placed])
    return positive / (y == 1).sum() + negative / (y == 0).sum()


def test_covariance_equals_the_double_loop_with_ties() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    scores = np.round(rng.normal(size=(3, 60)) + y, 1)
    found = delong(y, scores, [str(i) for i in range(60)])
    assert found.covariance == pytest.approx(_by_double_loop(y, scores))
    assert found.auroc == pytest.approx([roc_auc_score(y, s) for s in scores])


def test_agrees_with_the_bootstrap_over_units() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 150)
    a, b = rng.normal(size=150) + 1.2 * y, rng.normal(size=150) + 0.6 * y
    units = [str(i) for i in range(150)]
    by_formula = delong_evidence(delong(y, [a, b], units))
    by_draws = bootstrap_difference(
        lambda c: rank_auroc(y[c] == 1, a[c]) - rank_auroc(y[c] == 1, b[c]), units, resamples=600
    )
    assert by_draws.interval() == pytest.approx(by_formula.ci, abs=0.03)
    assert by_draws.jackknife_error() == pytest.approx(by_formula.se, rel=0.03)


def test_false_alarms_on_synthetic_equal_models_are_near_five_percent() -> None:
    # 6000 trials gave 5.0 % at 0.05 and 10.1 % at 0.10; 250 keep the test fast.
    rng = np.random.default_rng(7)
    units = [str(i) for i in range(80)]
    y = np.r_[np.ones(40, int), np.zeros(40, int)]
    p = np.array(
        [delong_evidence(delong(y, rng.normal(size=80) + y + rng.normal(size=(2, 80)), units)).p for _ in range(250)]
    )
    assert stats.binomtest(int((p < 0.05).sum()), 250, 0.05).pvalue > 0.005
    assert stats.binomtest(int((p < 0.5).sum()), 250, 0.5).pvalue > 0.005


def test_refuses_repeated_groups_and_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"unit 'p0' has 2 .*bootstrap_difference"):
        delong(Y, [S1, S2], ["p0", "p0", *PATIENTS[2:]])


@pytest.mark.parametrize(
    ("y", "scores", "match"),
    [
        (np.ones(10), S1, "two cases of each class"),
        (np.r_[1, np.zeros(9)], S1, "two cases of each class"),
        (Y, np.where(Y, np.nan, S1), "not finite"),
        (Y, S1[:9], "one truth, score and unit"),
    ],
)
def test_refuses_what_has_no_variance(y, scores, match) -> None:
    with pytest.raises(DataError, match=match):
        delong(y, scores, PATIENTS)


def test_the_same_model_twice_is_no_difference() -> None:
    evidence = delong_evidence(delong(Y, [S1, S1], PATIENTS))
    assert (evidence.difference, evidence.p) == (0.0, 1.0)
    assert evidence.ci == pytest.approx((-no_spread_half(10), no_spread_half(10)))


def test_perfect_against_constant_has_no_standard_error_and_no_p() -> None:
    evidence = delong_evidence(delong(Y, [Y.astype(float), np.zeros(10)], PATIENTS))
    assert evidence.difference == 0.5
    assert np.isnan(evidence.p)
    assert "cannot be estimated" in evidence.note


def test_interval_of_one_auroc_stays_inside_and_a_perfect_one_is_not_certain() -> None:
    found = delong(Y, [S1, Y.astype(float)], PATIENTS)
    centre, half = np.log(0.92 / 0.08), stats.norm.ppf(0.975) * np.sqrt(0.0088) / (0.92 * 0.08)
    assert found.interval(0) == pytest.approx(1 / (1 + np.exp([half - centre, -half - centre])))
    assert found.interval(0)[1] < 1
    assert found.interval(1) == (pytest.approx(1 - no_spread_half(5)), 1.0)


def test_missing_class_has_no_auroc() -> None:
    assert np.isnan(rank_auroc(np.ones(3, bool), np.arange(3.0)))
