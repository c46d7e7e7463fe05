"""Logistic regression whose strength held-out samples choose: the linear classifier behind the shallow methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from allograft.core.errors import DataError
from allograft.shallow.domains import Array

__all__ = ["GRID", "Labelled", "Linear", "choose_logistic"]

GRID = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Strengths C that are tried (ours)."""

Classes = npt.NDArray[np.int64]


class Labelled(NamedTuple):
    """Samples (n, d) with classes (n,) from 0 and, where they do not count alike, weights (n,)."""

    x: Array
    classes: Classes
    weights: Array | None = None


class Linear(NamedTuple):
    """A linear classifier and how it was chosen.

    Args:
        matrix: (O, d); one row for two classes (the second's log odds), else one for each class.
        bias: (O,).
        strength: C of the logistic regression.
        losses: mean log loss on the held-out samples by strength.
    """

    matrix: Array
    bias: Array
    strength: float
    losses: Mapping[float, float]

    def logits(self, x: Array) -> Array:
        """Return (n, O) for samples (n, d)."""
        return np.asarray(x @ self.matrix.T + self.bias)


def choose_logistic(given: Labelled, held: Labelled, *, classes: int, grid: Sequence[float] = GRID) -> Linear:
    """Fit with each strength and return the fit with the least log loss on `held`; of equal ones the weakest.

    Args:
        given: what is learnt from.
        held: what chooses; its weights count too.
        classes: how many there are, >= 2.
        grid: strengths C, > 0.

    Raises:
        DataError: a class has no sample, or no weight, in `given`.
    """
    weights = np.ones(len(given.x)) if given.weights is None else given.weights
    sums = np.bincount(given.classes, weights=weights, minlength=classes)
    if (sums <= 0).any():
        lacking = int(np.flatnonzero(sums <= 0)[0])
        msg = f"class {lacking} has no labelled sample of positive weight, so that nothing can be learnt of it."
        raise DataError(msg)
    x, turn = given.x, np.eye(given.x.shape[1])
    if x.shape[1] > len(x):  # coefficients lie in the span of the samples: the same fit, smaller
        turn = np.linalg.svd(x, full_matrices=False)[2].T
        x = x @ turn
    scale = weights * len(weights) / weights.sum()  # C means the same whatever the weights' mean
    found: dict[float, Linear] = {}
    for strength in sorted(grid):
        model = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(x, given.classes, sample_weight=scale)
        matrix, bias = np.asarray(model.coef_) @ turn.T, np.asarray(model.intercept_)
        found[strength] = Linear(matrix, bias, strength, {})
    losses = {strength: log_loss(each.logits(held.x), held) for strength, each in found.items()}
    best = min(losses, key=lambda strength: (losses[strength], strength))
    return found[best]._replace(losses=losses)


def log_loss(logits: Array, held: Labelled) -> float:
    """Return the mean of -log p(class) over samples with logits (n, 1) or (n, L)."""
    both = np.concatenate([np.zeros_like(logits), logits], axis=1) if logits.shape[1] == 1 else logits
    logs = both - np.logaddexp.reduce(both, axis=1, keepdims=True)
    each = -logs[np.arange(len(both)), held.classes]
    return float(np.average(each, weights=held.weights))
