"""The logistic regression behind the shallow methods: scikit-learn's own, chosen on held-out samples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearns_log_loss

from allograft.core.errors import DataError
from allograft.shallow.logistic import Labelled, choose_logistic, log_loss


def samples(n: int, d: int, classes: int, seed: int) -> Labelled:
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % classes
    x = rng.normal(size=(n, d))
    x[:, :classes] += 1.2 * np.eye(classes)[kind]
    return Labelled(x, kind.astype(np.int64))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("d", [5, 200])
def test_it_is_scikit_learns_with_the_strength_of_least_held_out_loss(classes: int, d: int) -> None:
    given, held = samples(90, d, classes, 0), samples(60, d, classes, 1)
    weights = np.linspace(0.1, 3, 90)
    found = choose_logistic(given._replace(weights=weights), held, classes=classes, grid=(1e-3, 0.1, 10.0))
    losses = {}
    for strength in (1e-3, 0.1, 10.0):
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000)
        model.fit(given.x, given.classes, sample_weight=weights / weights.mean())
        losses[strength] = sklearns_log_loss(held.classes, model.predict_proba(held.x))
        if strength == found.strength:
            assert found.logits(held.x).squeeze() == pytest.approx(model.decision_function(held.x), abs=2e-3)
    assert found.losses == pytest.approx(losses, abs=1e-3)
    assert found.strength == min(losses, key=lambda each: losses[each])
    assert found.matrix.shape == (1 if classes == 2 else classes, d)


def test_the_log_loss_is_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    logits, kinds = rng.normal(size=(20, 3)), rng.integers(0, 3, 20)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = sklearns_log_loss(kinds, shares, labels=[0, 1, 2])
    assert log_loss(logits, Labelled(logits, kinds)) == pytest.approx(expected)


def test_the_mean_of_the_weights_does_not_matter_and_their_ratios_do() -> None:
    given, held = samples(60, 4, 2, 4), samples(60, 4, 2, 5)
    weights = np.where(given.classes == 1, 5.0, 1.0)
    one, two, plain = (
        choose_logistic(given._replace(weights=w), held, classes=2, grid=(1.0,)) for w in (weights, 7 * weights, None)
    )
    assert one.matrix == pytest.approx(two.matrix)
    assert float(one.bias[0]) > float(plain.bias[0]) + 0.5


def test_a_class_without_samples_or_weight_is_an_error() -> None:
    given, held = samples(30, 4, 3, 6), samples(30, 4, 3, 7)
    with pytest.raises(DataError, match="class 3"):
        choose_logistic(given, held, classes=4)
    with pytest.raises(DataError, match="class 1"):
        choose_logistic(given._replace(weights=(given.classes != 1).astype(float)), held, classes=3)
