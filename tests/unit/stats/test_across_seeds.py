from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from allograft.core.errors import DataError
from allograft.stats.across_seeds import Summary, paired_seeds, ttest_from_summary, welch
from allograft.stats.multiplicity import holm

# Summaries of ten runs each from a published benchmark (arXiv:2108.05930), with the p values of
# Student's t test to the digits they are known to.
PUBLISHED = [
    ((81.70, 0.15), (80.31, 0.10), 3e-15),
    ((82.25, 0.18), (81.70, 0.15), 7e-7),
    ((87.40, 0.26), (87.10, 0.36), 0.047),
    ((98.47, 0.26), (95.62, 0.63), 1e-10),
    ((69.52, 0.38), (67.93, 1.45), 0.0035),
    ((98.31, 0.05), (98.19, 0.13), 0.014),
]


@pytest.mark.parametrize(("a", "b", "p"), PUBLISHED)
def test_student_from_published_summaries(a, b, p) -> None:
    found = ttest_from_summary(Summary(*a, 10), Summary(*b, 10), equal_variances=True)
    assert found.p == pytest.approx(stats.ttest_ind_from_stats(*a, 10, *b, 10).pvalue)
    assert found.p == pytest.approx(p, rel=0.5)
    assert f"{found.p:.0e}" == f"{p:.0e}" or f"{found.p:.2g}" == f"{p:.2g}"


def test_holm_takes_the_weakest_published_difference_back() -> None:
    p = [ttest_from_summary(Summary(*a, 10), Summary(*b, 10), equal_variances=True).p for a, b, _ in PUBLISHED]
    # Over the six alone the largest p is multiplied by one; among a table's worth it does not survive.
    assert holm(p)[2] < 0.05
    assert holm([*p, 0.3, 0.4])[2] > 0.05


def test_welch_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 7), rng.normal(0, 3, 12)
    judge = stats.ttest_ind(a, b, equal_var=False)
    found = welch(a, b)
    assert found.p == pytest.approx(judge.pvalue)
    assert found.ci == pytest.approx(tuple(judge.confidence_interval()))
    assert found.n_units == 7


def test_paired_seeds_equal_scipy_and_use_the_pairing() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=8)
    a, b = shared + 0.1 + 0.05 * rng.normal(size=8), shared
    assert paired_seeds(a, b).p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert paired_seeds(a, b).p < welch(a, b).p


@pytest.mark.parametrize("arm", [Summary(0.5, 0.1, 1), Summary(0.5, -0.1, 9)])
def test_refuses_arms_without_a_spread(arm) -> None:
    with pytest.raises(DataError, match="at least 2 runs"):
        ttest_from_summary(arm, Summary(0.5, 0.1, 5))


def test_no_spread_and_a_difference_has_no_p() -> None:
    found = ttest_from_summary(Summary(0.9, 0.0, 5), Summary(0.8, 0.0, 5))
    assert np.isnan(found.p)
