from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allograft.core.errors import ConfigError, DataError
from allograft.metrics.operating_point import Rates, choose_operating_point
from synthetic_predictions import predictions


def _with_scores(scores, targets):
    p = predictions("binary", n=len(scores))
    yes = np.asarray(scores, float)
    return replace(p, probabilities=np.stack([1 - yes, yes], 1), targets=np.asarray(targets))


def test_youden_by_hand() -> None:
    p = _with_scores([0.1, 0.2, 0.6, 0.3, 0.7, 0.8], [0, 0, 0, 1, 1, 1])
    # at 0.7: 2/3 + 1 = 1.667; at 0.3: 1 + 2/3 = 1.667: of equals the higher threshold
    point = choose_operating_point(p)
    assert point.threshold == 0.7
    assert point.on_validation == Rates(true_positive=2, false_negative=1, true_negative=3, false_positive=0)
    assert (point.on_validation.ppv, point.on_validation.npv) == (1.0, 0.75)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), target=st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_rules_equal_trying_every_threshold(seed: int, target: float) -> None:
    p = predictions("binary", n=41, seed=seed)
    scores = np.r_[np.unique(p.probabilities[:, 1]), np.inf]
    asked = choose_operating_point(p)
    tried = [replace(asked, threshold=t).rates(p) for t in scores]
    youden = max(r.sensitivity + r.specificity for r in tried)
    assert asked.on_validation.sensitivity + asked.on_validation.specificity == pytest.approx(youden)
    sensitive = choose_operating_point(p, "sensitivity", target=target).on_validation
    assert sensitive.sensitivity >= target - 1e-9
    assert sensitive.specificity == max(r.specificity for r in tried if r.sensitivity >= target - 1e-9)
    specific = choose_operating_point(p, "specificity", target=target).on_validation
    assert specific.specificity >= target - 1e-9
    assert specific.sensitivity == max(r.sensitivity for r in tried if r.specificity >= target - 1e-9)


def test_choosing_on_validation_is_optimistic_on_synthetic_noise_and_the_test_set_shows_it() -> None:
    gains, honest = [], []
    for seed in range(40):
        validation = predictions("binary", n=30, seed=seed, skill=0.0)
        test = predictions("binary", n=30, seed=1000 + seed, skill=0.0)
        point = choose_operating_point(validation)
        gains.append(point.on_validation.sensitivity + point.on_validation.specificity - 1)
        honest.append(point.rates(test).sensitivity + point.rates(test).specificity - 1)
    assert np.mean(gains) > 0.1
    assert abs(np.mean(honest)) < 0.08


def test_a_negative_on_top_needs_a_threshold_above_every_score() -> None:
    p = _with_scores([0.1, 1.0, 0.5], [0, 0, 1])
    point = choose_operating_point(p, "specificity", target=1.0)
    assert np.isfinite(point.threshold)
    assert point.on_validation.sensitivity == 0.0


def test_labels_of_a_multilabel_task() -> None:
    p = predictions("multilabel", n=60, absent=0.2)
    point = choose_operating_point(p, "sensitivity", target=0.9, label="c1")
    rates = point.rates(p)
    assert rates == point.on_validation
    total = rates.true_positive + rates.false_negative + rates.true_negative + rates.false_positive
    assert total == (p.targets[:, 1] >= 0).sum()


def test_rates_without_cases_are_undefined() -> None:
    none = Rates(true_positive=0, false_negative=0, true_negative=4, false_positive=0)
    assert np.isnan([none.sensitivity, none.ppv]).all()
    assert (none.specificity, none.npv) == (1.0, 1.0)


def test_refusals() -> None:
    p = predictions("binary", n=10)
    with pytest.raises(ConfigError, match="needs a target"):
        choose_operating_point(p, "sensitivity")
    with pytest.raises(ConfigError, match="binary task"):
        choose_operating_point(predictions("multiclass", n=9))
    with pytest.raises(ConfigError, match="Known: c0, c1, c2"):
        choose_operating_point(predictions("multilabel", n=9), label="c7")
    with pytest.raises(DataError, match="positive and negative"):
        choose_operating_point(predictions("binary", n=10, one_class=True))
