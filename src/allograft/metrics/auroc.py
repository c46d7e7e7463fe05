"""AUROC: the chance that a positive case scores above a negative one.

Binary: of the positive class. Multi-class: one against the rest, mean over classes. Multi-label:
mean over labels. Classes without both answers are skipped; see `questions.skipped_classes`.
Sorted placements instead of scikit-learn's curve: the same number many times faster, which a bootstrap
over patients needs; the test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from allograft.data.predictions import Predictions
from allograft.metrics.metric import Array, check_kind
from allograft.metrics.questions import Question, macro, per_question, ranked_questions
from allograft.stats.delong import rank_auroc

__all__ = ["Auroc"]


@dataclass(frozen=True)
class Auroc:
    """Area under the receiver operating characteristic, in [0, 1], 0.5 by chance."""

    name: ClassVar[str] = "auroc"
    title: ClassVar[str] = "AUROC"
    larger_is_better: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multiclass", "multilabel"})
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    def value(self, p: Predictions) -> float:
        """Return the mean over classes that can be scored, NaN where there are none."""
        check_kind(self, p)
        return macro(ranked_questions(p), _area)

    def cases(self, p: Predictions) -> Array | None:
        """Return None: a ranking has no value per case."""
        return None

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return the AUROC of each class against the rest, NaN for skipped classes."""
        check_kind(self, p)
        return per_question(ranked_questions(p), _area)


def _area(question: Question) -> float:
    return rank_auroc(question.truth, question.score)
