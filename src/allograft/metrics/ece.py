"""ECE: expected calibration error, the mean gap between how sure a model is and how often it is right.

15 bins of equal width (a habit of the field). Binary and each label of a multi-label task: the
probability of yes against the share of yes. Multi-class: the top probability against the share of
right answers. With few cases a bin's share is noisy and ECE reads too high even for a perfectly
calibrated model: compare it only between models on the same cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from allograft.data.predictions import Predictions
from allograft.metrics.metric import Array, check_kind
from allograft.metrics.questions import has_target, questions

__all__ = ["Ece"]


@dataclass(frozen=True)
class Ece:
    """Expected calibration error, in [0, 1], 0 is perfect.

    Args:
        bins: bins of equal width on [0, 1], each closed on the left.
    """

    bins: int = 15

    name: ClassVar[str] = "ece"
    title: ClassVar[str] = "ECE"
    larger_is_better: ClassVar[bool] = False
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multiclass", "multilabel"})
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    def value(self, p: Predictions) -> float:
        """Return the error, for multi-label tasks its mean over labels; NaN without any target."""
        check_kind(self, p)
        asked = questions(p)
        if p.task.kind == "multilabel":
            errors = [e for e in self.per_class(p).values() if not np.isnan(e)]
            return float(np.mean(errors)) if errors else float("nan")
        if p.task.kind == "binary":
            return self._error(asked[1].score, asked[1].truth)
        rows = has_target(p)
        top = p.probabilities[rows]
        return self._error(top.max(axis=1, initial=0.0), top.argmax(axis=1) == p.targets[rows])

    def cases(self, p: Predictions) -> Array | None:
        """Return None: calibration is a property of a set."""
        return None

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return the error of each label of a multi-label task; empty otherwise."""
        check_kind(self, p)
        if p.task.kind != "multilabel":
            return {}
        return {question.name: self._error(question.score, question.truth) for question in questions(p)}

    def _error(self, confidence: Array, right: npt.NDArray[np.bool_]) -> float:
        """Return the mean over cases of |share right - mean confidence| of the case's bin."""
        if confidence.size == 0:
            return float("nan")
        number = np.minimum((confidence * self.bins).astype(np.int64), self.bins - 1)
        gap = np.bincount(number, weights=right.astype(np.float64) - confidence, minlength=self.bins)
        return float(np.abs(gap).sum() / confidence.size)
