"""Balanced accuracy: the mean of what is found in each class.

Binary and multi-class: mean recall over the classes that occur. Multi-label: per label the mean of
sensitivity and specificity at 0.5, then the mean over labels. Where all cases are of one class it
is undefined: a constant answer would score 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from allograft.data.predictions import Predictions
from allograft.metrics.metric import Array, check_kind
from allograft.metrics.questions import Question, macro, per_question, questions

__all__ = ["BalancedAccuracy"]


@dataclass(frozen=True)
class BalancedAccuracy:
    """Mean recall over classes, in [0, 1]; 1 / classes by chance (0.5 per label in multi-label tasks)."""

    name: ClassVar[str] = "balanced_accuracy"
    title: ClassVar[str] = "balanced accuracy"
    larger_is_better: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multiclass", "multilabel"})
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    def value(self, p: Predictions) -> float:
        """Return the mean over classes that can be scored, NaN where there are none."""
        check_kind(self, p)
        return macro(questions(p), _both_sides if p.task.kind == "multilabel" else recall)

    def cases(self, p: Predictions) -> Array | None:
        """Return None: a case's weight depends on how many others share its class."""
        return None

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return each class's recall (sensitivity), NaN for skipped classes."""
        check_kind(self, p)
        return per_question(questions(p), recall)


def recall(question: Question) -> float:
    """Return the share of the class's cases that were found; needs at least one."""
    return float(question.decision[question.truth].mean())


def _both_sides(question: Question) -> float:
    specificity = float((~question.decision[~question.truth]).mean())
    return (recall(question) + specificity) / 2
