"""Rank agreement: scipy's taus, regret by hand, intervals, and the warning for few sources."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, weightedtau

from allograft.core.errors import DataError
from allograft.stats.rank_agreement import FEW, rank_agreement

SCORE = np.array([0.3, 0.1, 0.7, 0.5, 0.9, 0.2, 0.8, 0.4, 0.6])
TRUTH = np.array([0.61, 0.55, 0.72, 0.70, 0.80, 0.58, 0.85, 0.60, 0.66])


def test_taus_are_scipys():
    found = rank_agreement(SCORE, TRUTH)
    assert found.weighted_tau == pytest.approx(weightedtau(SCORE, TRUTH).statistic)
    assert found.kendall == pytest.approx(kendalltau(SCORE, TRUTH).statistic)
    assert found.sources == len(SCORE) >= FEW
    assert found.warning == ""


def test_regret_is_what_the_chosen_source_lacks():
    assert rank_agreement(SCORE, TRUTH).regret == pytest.approx(0.85 - 0.80)
    assert rank_agreement(TRUTH, TRUTH).regret == 0
    assert rank_agreement([1, 1, 0], [0.5, 0.7, 0.9]).regret == pytest.approx(0.3)  # a tie is a draw


def test_order_is_seen_and_reversed_order_too():
    assert rank_agreement(TRUTH, TRUTH).weighted_tau == pytest.approx(1)
    assert rank_agreement(-TRUTH, TRUTH).kendall == pytest.approx(-1)


def test_the_interval_holds_the_estimate_and_is_repeatable():
    found = rank_agreement(SCORE, TRUTH, seed=3)
    assert found.interval is not None
    assert found.weighted_tau is not None
    low, high = found.interval
    assert -1 <= low < found.weighted_tau < high <= 1
    assert found == rank_agreement(SCORE, TRUTH, seed=3)


def test_few_sources_are_warned_of_and_two_have_no_correlation():
    found = rank_agreement(SCORE[:5], TRUTH[:5])
    assert "5 sources: fewer than 8" in found.warning
    two = rank_agreement([1, 2], [1, 2])
    assert (two.weighted_tau, two.interval, two.kendall, two.regret) == (None, None, None, 0)
    level = rank_agreement([1, 1, 1, 1], [1, 2, 3, 4])
    assert level.weighted_tau is None
    assert level.regret == 1.5


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="same sources"):
        rank_agreement([1, 2, 3], [1, 2])
    with pytest.raises(DataError, match="finite"):
        rank_agreement([1, np.nan], [1, 2])
