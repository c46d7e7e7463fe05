"""AUROC, AUPRC, balanced accuracy, F1: against scikit-learn, and where they are undefined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as judge

from allograft.core.errors import ConfigError, DataError, NumericsError
from allograft.core.task import Task
from allograft.data.predictions import Predictions
from allograft.metrics.accuracy import Accuracy
from allograft.metrics.auprc import Auprc
from allograft.metrics.auroc import Auroc
from allograft.metrics.balanced_accuracy import BalancedAccuracy
from allograft.metrics.brier import Brier
from allograft.metrics.ece import Ece
from allograft.metrics.f1 import F1
from allograft.metrics.log_loss import LogLoss
from allograft.metrics.mae import Mae
from allograft.metrics.metric import Metric
from allograft.metrics.questions import skipped_classes
from synthetic_predictions import predictions

CLASS_MEANS = [Auroc(), Auprc(), BalancedAccuracy(), F1()]
ALL = [*CLASS_MEANS, Accuracy(), LogLoss(), Brier(), Ece()]
KINDS = ["binary", "multiclass", "multilabel"]


def test_binary_equals_sklearn() -> None:
    p = predictions("binary", n=80)
    score, decided = p.probabilities[:, 1], p.probabilities.argmax(1)
    assert Auroc().value(p) == pytest.approx(judge.roc_auc_score(p.targets, score))
    assert Auprc().value(p) == pytest.approx(judge.average_precision_score(p.targets, score))
    assert BalancedAccuracy().value(p) == pytest.approx(judge.balanced_accuracy_score(p.targets, decided))
    assert F1().value(p) == pytest.approx(judge.f1_score(p.targets, decided, average="macro"))
    assert F1().per_class(p)["c1"] == pytest.approx(judge.f1_score(p.targets, decided))
    assert list(Auroc().per_class(p)) == ["c1"]


def test_multiclass_equals_sklearn() -> None:
    p = predictions("multiclass", n=90)
    decided, one_hot = p.probabilities.argmax(1), np.eye(3)[p.targets]
    assert Auroc().value(p) == pytest.approx(judge.roc_auc_score(p.targets, p.probabilities, multi_class="ovr"))
    assert Auprc().value(p) == pytest.approx(judge.average_precision_score(one_hot, p.probabilities, average="macro"))
    assert BalancedAccuracy().value(p) == pytest.approx(judge.balanced_accuracy_score(p.targets, decided))
    assert F1().value(p) == pytest.approx(judge.f1_score(p.targets, decided, average="macro"))
    recalls = judge.recall_score(p.targets, decided, average=None)
    assert list(BalancedAccuracy().per_class(p).values()) == pytest.approx(list(recalls))


def test_multilabel_equals_sklearn_over_present_targets() -> None:
    p = predictions("multilabel", n=90, absent=0.2)
    rows = [p.targets[:, k] >= 0 for k in range(3)]
    assert not all(row.all() for row in rows)

    def mean(score, of) -> float:
        return float(np.mean([score(p.targets[r, k], of[r, k]) for k, r in enumerate(rows)]))

    decided = (p.probabilities > 0.5).astype(int)
    assert Auroc().value(p) == pytest.approx(mean(judge.roc_auc_score, p.probabilities))
    assert Auprc().value(p) == pytest.approx(mean(judge.average_precision_score, p.probabilities))
    assert BalancedAccuracy().value(p) == pytest.approx(mean(judge.balanced_accuracy_score, decided))
    assert F1().value(p) == pytest.approx(mean(judge.f1_score, decided))


@pytest.mark.parametrize("metric", CLASS_MEANS, ids=lambda m: m.name)
def test_a_missing_class_is_skipped_and_reported_never_half(metric: Metric) -> None:
    p = predictions("multiclass", n=60)
    keep = p.targets != 2
    part = replace(
        p, ids=p.ids[: keep.sum()], groups=p.groups[: keep.sum()], logits=p.logits[keep],
        probabilities=p.probabilities[keep], targets=p.targets[keep],
    )  # fmt: skip
    assert skipped_classes(part) == ("c2",)
    scores = metric.per_class(part)
    assert np.isnan(scores["c2"])
    assert metric.value(part) == pytest.approx(np.mean([scores["c0"], scores["c1"]]))


@pytest.mark.parametrize("metric", CLASS_MEANS, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", KINDS)
def test_one_class_only_is_undefined_even_if_all_answers_are_right(metric: Metric, kind: str) -> None:
    p = predictions(kind, n=10, one_class=True)
    assert np.isnan(metric.value(p))
    assert all(np.isnan(v) for v in metric.per_class(p).values())
    assert skipped_classes(p) == p.task.classes[-len(skipped_classes(p)) :]
    assert skipped_classes(p)


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", KINDS)
def test_no_targets_at_all_is_undefined(metric: Metric, kind: str) -> None:
    p = predictions(kind, n=10)
    empty = replace(p, targets=np.full_like(p.targets, -1))
    assert np.isnan(metric.value(empty))


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_prediction_is_an_error_and_never_a_better_score(metric: Metric, kind: str) -> None:
    p = predictions(kind, n=20)
    broken = p.probabilities.copy()
    broken[4] = np.nan
    with pytest.raises(NumericsError, match="case4"):
        metric.value(replace(p, probabilities=broken))


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_missing_more_is_never_better(metric: Metric, kind: str, seed: int) -> None:
    """Make the network sure of the wrong answer on some cases that it had right: no metric may improve."""
    p = predictions(kind, n=40, seed=seed)
    worse = p.probabilities.copy()
    hit = np.random.default_rng(seed).permutation(40)[:15]
    if kind == "multilabel":
        worse[hit] = 1.0 - p.targets[hit]
    else:
        worse[hit] = 0.0
        worse[hit, (p.targets[hit] + 1) % worse.shape[1]] = 1.0
    before, after = metric.value(p), metric.value(replace(p, probabilities=worse))
    if metric.name == "ece" and kind == "multilabel":
        before = 0.0  # calibration alone may improve for one label; only the range is promised
    assert after <= before + 1e-9 if metric.larger_is_better else after >= before - 1e-9


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", KINDS)
def test_perfect_answers_reach_the_best_end_of_the_range(metric: Metric, kind: str) -> None:
    p = predictions(kind, n=40)
    perfect = p.targets.astype(float) if kind == "multilabel" else np.eye(p.probabilities.shape[1])[p.targets]
    best = metric.high if metric.larger_is_better else metric.low
    assert metric.value(replace(p, probabilities=perfect)) == pytest.approx(best, abs=1e-12)
    assert metric.low <= metric.value(p) <= metric.high


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", KINDS)
def test_order_of_cases_does_not_matter(metric: Metric, kind: str) -> None:
    p = predictions(kind, n=50)
    order = np.random.default_rng(0).permutation(50)
    mixed = replace(p, logits=p.logits[order], probabilities=p.probabilities[order], targets=p.targets[order])
    assert metric.value(mixed) == pytest.approx(metric.value(p))


def test_a_constant_answer_is_chance() -> None:
    p = predictions("multiclass", n=60)
    constant = replace(p, probabilities=np.tile([0.5, 0.3, 0.2], (60, 1)))
    assert Auroc().value(constant) == 0.5
    assert BalancedAccuracy().value(constant) == pytest.approx(1 / 3)
    assert Accuracy().value(constant) == np.mean(p.targets == 0)


def test_a_class_predicted_but_absent_costs_the_class_that_was_missed() -> None:
    task = Task(kind="multiclass", classes=("a", "b", "c"))
    p = Predictions(
        task=task, ids=("1", "2", "3", "4"), groups=("1", "2", "3", "4"), logits=np.zeros((4, 3), np.float32),
        probabilities=np.eye(3)[[0, 2, 1, 1]], targets=np.array([0, 0, 1, 1]),
    )  # fmt: skip
    assert F1().value(p) == pytest.approx((2 / 3 + 1) / 2)
    assert BalancedAccuracy().value(p) == pytest.approx(0.75)


@pytest.mark.parametrize("metric", [*ALL, Mae()], ids=lambda m: m.name)
def test_every_metric_fulfils_the_protocol(metric: Metric) -> None:
    assert isinstance(metric, Metric)
    assert metric.low < metric.high
    assert not metric.margin <= 0
    other = predictions("binary" if metric.name == "mae" else "regression", n=5)
    with pytest.raises(ConfigError, match=f"metric '{metric.name}' is not defined for a"):
        metric.value(other)


def test_probabilities_of_another_shape_are_refused() -> None:
    p = predictions("binary", n=5)
    with pytest.raises(DataError, match=r"expected \(5, 2\)"):
        Auroc().value(replace(p, probabilities=p.probabilities[:, 1:]))
