"""Accuracy, log loss, Brier, MAE: per case, and their mean against scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as judge

from allograft.core.errors import DataError, NumericsError
from allograft.metrics.accuracy import Accuracy
from allograft.metrics.brier import Brier
from allograft.metrics.log_loss import LogLoss
from allograft.metrics.mae import Mae
from synthetic_predictions import predictions

PER_CASE = [Accuracy(), LogLoss(), Brier()]


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_equal_sklearn(kind: str) -> None:
    p = predictions(kind, n=70)
    y, probabilities = p.targets, p.probabilities
    assert Accuracy().value(p) == pytest.approx(judge.accuracy_score(y, probabilities.argmax(1)))
    assert LogLoss().value(p) == pytest.approx(judge.log_loss(y, probabilities))
    assert Brier().value(p) == pytest.approx(judge.brier_score_loss(y, probabilities, scale_by_half=True))


def test_binary_brier_is_the_usual_one() -> None:
    p = predictions("binary", n=70)
    assert Brier().value(p) == pytest.approx(np.mean((p.probabilities[:, 1] - p.targets) ** 2))


def test_multilabel_averages_the_labels_that_are_present() -> None:
    p = predictions("multilabel", n=50, absent=0.3)
    targets = p.targets.copy()
    targets[7] = -1
    p = replace(p, targets=targets)
    for metric, score in (
        (Accuracy(), lambda y, q: (q > 0.5) == y),
        (LogLoss(), lambda y, q: -np.log(q if y else 1 - q)),
        (Brier(), lambda y, q: (q - y) ** 2),
    ):
        by_hand = [
            np.mean([score(y, q) for y, q in zip(row, prob, strict=True) if y >= 0]) if (row >= 0).any() else np.nan
            for row, prob in zip(p.targets, p.probabilities, strict=True)
        ]
        assert metric.cases(p) == pytest.approx(np.array(by_hand), nan_ok=True)
        assert metric.value(p) == pytest.approx(np.nanmean(by_hand))
        assert np.isnan(metric.cases(p)[7])


@pytest.mark.parametrize("metric", PER_CASE, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_value_is_the_mean_of_the_cases(metric, kind: str) -> None:
    p = predictions(kind, n=30)
    assert metric.cases(p).shape == (30,)
    assert metric.value(p) == pytest.approx(np.nanmean(metric.cases(p)))


@pytest.mark.parametrize("metric", PER_CASE, ids=lambda m: m.name)
def test_an_absent_target_leaves_its_case_out_and_no_other(metric) -> None:
    p = predictions("multiclass", n=30)
    targets = p.targets.copy()
    targets[3] = -1
    values = metric.cases(replace(p, targets=targets))
    assert np.flatnonzero(np.isnan(values)).tolist() == [3]
    assert np.delete(values, 3) == pytest.approx(np.delete(metric.cases(p), 3))


def test_sure_and_wrong_costs_much_but_stays_finite() -> None:
    p = predictions("binary", n=2)
    wrong = replace(p, probabilities=np.eye(2)[1 - p.targets])
    assert LogLoss().value(wrong) == pytest.approx(36.04, abs=0.01)
    blind = replace(p, probabilities=np.full((2, 2), 0.5))
    assert LogLoss().value(blind) == pytest.approx(np.log(2))


def test_mae_equals_sklearn_and_minus_one_is_a_value() -> None:
    p = predictions("regression", n=40)
    targets = p.targets.copy()
    targets[0] = -1.0
    p = replace(p, targets=targets)
    assert Mae().value(p) == pytest.approx(judge.mean_absolute_error(targets, p.logits), rel=1e-6)
    assert Mae().per_class(p) == {"size": pytest.approx(Mae().value(p))}
    targets[5] = np.nan
    assert np.isnan(Mae().cases(replace(p, targets=targets))[5])


def test_mae_refuses_broken_predictions_and_other_shapes() -> None:
    p = predictions("regression", n=4)
    broken = p.logits.copy()
    broken[2] = np.inf
    with pytest.raises(NumericsError, match="case2"):
        Mae().value(replace(p, logits=broken))
    with pytest.raises(DataError, match="must be equal"):
        Mae().value(replace(p, targets=np.zeros((4, 2))))
