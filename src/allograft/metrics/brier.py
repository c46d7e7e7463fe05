"""Brier score: mean squared distance between probabilities and truth.

Half the sum over classes of (p - y)^2, so that it lies in [0, 1] for any number of classes and is the
usual (p - y)^2 for two; scikit-learn calls this `scale_by_half=True`. Multi-label: the mean over the
labels of a case of (p - y)^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from allograft.data.predictions import Predictions
from allograft.metrics.case_scores import case_scores
from allograft.metrics.metric import Array, check_kind, mean_of_cases

__all__ = ["Brier"]


@dataclass(frozen=True)
class Brier:
    """Brier score, in [0, 1], 0 is perfect."""

    name: ClassVar[str] = "brier"
    title: ClassVar[str] = "Brier score"
    larger_is_better: ClassVar[bool] = False
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multiclass", "multilabel"})
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    def value(self, p: Predictions) -> float:
        """Return the mean over cases that have a target, NaN where none has."""
        return mean_of_cases(self.cases(p))

    def cases(self, p: Predictions) -> Array:
        """Return (N,) squared distances, NaN where a case has no target."""
        check_kind(self, p)
        return case_scores(p, _rows, _cells)

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return nothing: a mean over cases has no classes."""
        return {}


def _rows(truth: npt.NDArray[np.int64], probabilities: Array) -> Array:
    one_hot = np.eye(probabilities.shape[1])[truth]
    distance: Array = ((probabilities - one_hot) ** 2).sum(axis=1) / 2
    return distance


def _cells(truth: npt.NDArray[np.bool_], probabilities: Array) -> Array:
    distance: Array = (probabilities - truth) ** 2
    return distance
