"""Discriminative ratio: scikit-learn's probabilities by the formula, limits, a known ratio, no collapse."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from allograft.procedures.discriminative_ratio import RatioTransfer
from allograft.shallow.discriminative_ratio import DiscriminativeRatio
from allograft.shallow.domains import effective_sample_size
from toy_domains import SOURCE, TARGET


def test_weights_are_scikit_learns_odds_times_the_sizes() -> None:
    x, side = np.concatenate([SOURCE, TARGET]), np.repeat([0, 1], [12, 10])
    odds = LogisticRegression(C=0.7, tol=1e-10, max_iter=10_000).fit(x, side).predict_proba(SOURCE)
    found = DiscriminativeRatio(0.7, folds=0).fit(SOURCE, TARGET)
    assert found.weights_ == pytest.approx(odds[:, 1] / odds[:, 0] * 12 / 10, rel=1e-4)
    assert found.ratio(SOURCE) == pytest.approx(found.weights_)


def test_equal_domains_give_weights_one() -> None:
    assert DiscriminativeRatio(1.0, folds=0).fit(SOURCE, SOURCE).weights_ == pytest.approx(np.ones(12), abs=1e-6)
    x = np.random.default_rng(0).normal(size=(300, 3))
    left_out = DiscriminativeRatio().fit(x, x[::-1])
    assert left_out.weights_ == pytest.approx(np.ones(300), abs=0.2)


def test_the_ratio_of_two_gaussians_of_other_means_is_found() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(4000, 1)), rng.normal(size=(1000, 1)) + 0.6
    found = DiscriminativeRatio().fit(source, target)
    true = np.exp(0.6 * source[:, 0] - 0.18)
    assert found.weights_ == pytest.approx(true, rel=0.3)
    assert found.weights_.mean() == pytest.approx(1, abs=0.05)


def test_left_out_weights_do_not_collapse_where_features_are_many() -> None:
    rng = np.random.default_rng(2)
    source, target = rng.normal(size=(60, 200)), rng.normal(size=(60, 200))
    fitted = DiscriminativeRatio(1e4, folds=0).fit(source, target)
    left_out = DiscriminativeRatio().fit(source, target)
    assert fitted.weights_.max() < 1e-2, "a classifier tells apart whatever it was fitted on"
    assert effective_sample_size(left_out.weights_) > 30
    assert left_out.strength_ == min(left_out.scores_, key=lambda each: left_out.scores_[each])


def test_a_bound_holds_and_no_folds_need_a_strength() -> None:
    assert DiscriminativeRatio(10.0, bound=1.5).fit(SOURCE, TARGET).weights_.max() <= 1.5
    with pytest.raises(ValueError, match="nothing to choose"):
        DiscriminativeRatio(folds=0).fit(SOURCE, TARGET)


def test_the_procedure_weighs_by_left_out_fits() -> None:
    assert RatioTransfer().folds == 5 == DiscriminativeRatio().folds
