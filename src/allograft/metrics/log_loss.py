"""Log loss: minus the logarithm of the probability given to the truth; sure and wrong costs most.

Probabilities are kept at least 2.2e-16 away from 0, as scikit-learn does, so a case costs at most 36.
Multi-label: the mean over the labels of a case of the yes/no loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from allograft.data.predictions import Predictions
from allograft.metrics.case_scores import case_scores
from allograft.metrics.metric import Array, check_kind, mean_of_cases

__all__ = ["LogLoss"]

SMALLEST = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class LogLoss:
    """Negative log likelihood per case in nats, >= 0, 0 is perfect; ln(classes) for a blind guess."""

    name: ClassVar[str] = "log_loss"
    title: ClassVar[str] = "log loss"
    larger_is_better: ClassVar[bool] = False
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multiclass", "multilabel"})
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = float("inf")
    margin: ClassVar[float] = 0.02

    def value(self, p: Predictions) -> float:
        """Return the mean over cases that have a target, NaN where none has."""
        return mean_of_cases(self.cases(p))

    def cases(self, p: Predictions) -> Array:
        """Return (N,) losses in nats, NaN where a case has no target."""
        check_kind(self, p)
        return case_scores(p, _rows, _cells)

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return nothing: a mean over cases has no classes."""
        return {}


def _rows(truth: npt.NDArray[np.int64], probabilities: Array) -> Array:
    given: Array = probabilities[np.arange(len(truth)), truth]
    return -np.log(np.clip(given, SMALLEST, 1.0))


def _cells(truth: npt.NDArray[np.bool_], probabilities: Array) -> Array:
    given: Array = np.where(truth, probabilities, 1.0 - probabilities)
    return -np.log(np.clip(given, SMALLEST, 1.0))
