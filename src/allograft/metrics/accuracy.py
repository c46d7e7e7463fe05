"""Accuracy: the share of right answers. With unequal classes prefer balanced accuracy.

Multi-label: the share of right labels of a case, at probability 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from allograft.data.predictions import Predictions
from allograft.metrics.case_scores import case_scores
from allograft.metrics.metric import Array, check_kind, mean_of_cases

__all__ = ["Accuracy"]


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers, in [0, 1]."""

    name: ClassVar[str] = "accuracy"
    title: ClassVar[str] = "accuracy"
    larger_is_better: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multiclass", "multilabel"})
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    def value(self, p: Predictions) -> float:
        """Return the mean over cases that have a target, NaN where none has."""
        return mean_of_cases(self.cases(p))

    def cases(self, p: Predictions) -> Array:
        """Return (N,) 1 for right and 0 for wrong, NaN where a case has no target."""
        check_kind(self, p)
        return case_scores(p, _rows, _cells)

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return nothing: a mean over cases has no classes."""
        return {}


def _rows(truth: npt.NDArray[np.int64], probabilities: Array) -> Array:
    right: Array = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    return right


def _cells(truth: npt.NDArray[np.bool_], probabilities: Array) -> Array:
    right: Array = ((probabilities > 0.5) == truth).astype(np.float64)
    return right
