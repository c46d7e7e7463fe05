"""F1: harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), mean over classes.

Differs from scikit-learn's macro mean where a class does not occur in the truth: there it counts as
0 as soon as one model predicts it, here it is skipped for every model alike (its false positives
still cost the class that was missed). `per_class` gives the positive class of a binary task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from allograft.data.predictions import Predictions
from allograft.metrics.metric import Array, check_kind
from allograft.metrics.questions import Question, macro, per_question, questions

__all__ = ["F1"]


@dataclass(frozen=True)
class F1:
    """Macro F1, in [0, 1]; at probability 0.5 in multi-label tasks, else of the most probable class."""

    name: ClassVar[str] = "f1"
    title: ClassVar[str] = "macro F1"
    larger_is_better: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multiclass", "multilabel"})
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    def value(self, p: Predictions) -> float:
        """Return the mean over classes that can be scored, NaN where there are none."""
        check_kind(self, p)
        return macro(questions(p), _f1)

    def cases(self, p: Predictions) -> Array | None:
        """Return None: F1 is not a mean over cases."""
        return None

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return each class's F1, NaN for skipped classes."""
        check_kind(self, p)
        return per_question(questions(p), _f1)


def _f1(question: Question) -> float:
    found = int(np.sum(question.truth & question.decision))
    # The denominator is positive: the question has at least one yes.
    return 2 * found / (int(question.truth.sum()) + int(question.decision.sum()))
