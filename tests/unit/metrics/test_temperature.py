from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, softmax

from allograft.core.errors import ConfigError, DataError
from allograft.metrics.auroc import Auroc
from allograft.metrics.ece import Ece
from allograft.metrics.log_loss import LogLoss
from allograft.metrics.temperature import Temperature, fit_temperature
from synthetic_predictions import predictions

KINDS = ["binary", "multiclass", "multilabel"]


@pytest.mark.parametrize("kind", KINDS)
def test_equals_brute_force_over_a_grid(kind: str) -> None:
    p = predictions(kind, n=150, absent=0.1)
    found = fit_temperature(p)
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 400))
    fixed = [Temperature(value=t, before=0, after=0, at_bound=False, cases=0) for t in grid]
    losses = [LogLoss().value(t.apply(p)) for t in fixed]
    assert found.after <= min(losses) + 1e-7
    assert found.value == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)
    assert found.before == pytest.approx(LogLoss().value(p))
    assert not found.at_bound


def test_a_known_temperature_is_found_again_on_synthetic_logits() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (20000, 3))
    p = predictions("multiclass", n=20000)
    honest = softmax(true, axis=1)
    targets = (honest.cumsum(1) > rng.random((20000, 1))).argmax(1)
    logits = (3 * true).astype(np.float32)
    sure = replace(p, logits=logits, probabilities=softmax(logits.astype(float), axis=1), targets=targets)
    found = fit_temperature(sure)
    assert found.value == pytest.approx(3.0, rel=0.05)
    assert Ece().value(found.apply(sure)) < 0.2 * Ece().value(sure)


@pytest.mark.parametrize("kind", KINDS)
def test_ranking_and_decisions_stay(kind: str) -> None:
    p = predictions(kind, n=60)
    scaled = Temperature(value=2.5, before=0, after=0, at_bound=False, cases=0).apply(p)
    assert np.array_equal(scaled.probabilities > 0.5, p.probabilities > 0.5) or kind == "multiclass"
    assert np.array_equal(scaled.probabilities.argmax(1), p.probabilities.argmax(1)) or kind == "multilabel"
    if kind != "multiclass":
        assert Auroc().value(scaled) == Auroc().value(p)
    assert fit_temperature(scaled).value == pytest.approx(fit_temperature(p).value / 2.5, rel=1e-3)


def test_one_is_the_identity() -> None:
    p = predictions("binary", n=20)
    same = Temperature(value=1.0, before=0, after=0, at_bound=False, cases=0).apply(p)
    assert same.probabilities == pytest.approx(p.probabilities)


def test_perfect_separation_ends_at_the_bound_and_says_so() -> None:
    p = predictions("binary", n=20)
    logits = (4.0 * p.targets - 2.0)[:, None].astype(np.float32)
    yes = expit(logits.astype(float))
    assert fit_temperature(replace(p, logits=logits, probabilities=np.hstack([1 - yes, yes]))).at_bound


def test_refuses_what_it_cannot_scale() -> None:
    p = predictions("binary", n=20)
    with pytest.raises(DataError, match="do not follow from the logits"):
        fit_temperature(replace(p, probabilities=p.probabilities[:, ::-1]))
    with pytest.raises(DataError, match="do not follow from the logits"):
        fit_temperature(replace(p, logits=np.full_like(p.logits, np.nan)))
    with pytest.raises(DataError, match="none has one"):
        fit_temperature(replace(p, targets=np.full_like(p.targets, -1)))
    with pytest.raises(ConfigError, match="no probabilities"):
        fit_temperature(predictions("regression", n=5))
