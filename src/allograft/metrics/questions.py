"""Questions: a task seen as one yes/no question per class, asked of the cases that have an answer.

AUROC, AUPRC, recall, F1 and balanced accuracy are all means over these questions. A question whose
cases all have the same answer cannot be scored; it is left out of every such mean, and
`skipped_classes` names it, so that no class is counted as 0.5, 0 or 1 by decree. Which questions
count depends on the truth only: two models on the same cases are always judged on the same classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError, NumericsError
from allograft.data.predictions import Predictions

__all__ = [
    "Question",
    "answered",
    "check_finite",
    "has_target",
    "macro",
    "per_question",
    "questions",
    "ranked_questions",
    "skipped_classes",
]


class Question(NamedTuple):
    """Is it this class?

    Args:
        name: the class.
        truth: (n,) bool, over the cases that have a target.
        score: (n,) probability of yes.
        decision: (n,) bool: most probable class, or probability above 0.5 in multi-label tasks.
    """

    name: str
    truth: npt.NDArray[np.bool_]
    score: npt.NDArray[np.float64]
    decision: npt.NDArray[np.bool_]

    @property
    def has_both(self) -> bool:
        """Whether some cases are yes and some no."""
        return bool(self.truth.any() and not self.truth.all())


def has_target(p: Predictions) -> npt.NDArray[np.bool_]:
    """Return where a target is present: (N,), or (N, L) for multi-label; absent is -1."""
    return np.asarray(p.targets) >= 0


def check_finite(p: Predictions) -> None:
    """Refuse predictions that are not numbers: they must not quietly leave a mean.

    Raises:
        NumericsError: names the first cases.
        DataError: probabilities do not have one row per case and one column per class.
    """
    expected = (len(p), len(p.task.classes))
    if p.probabilities.shape != expected:
        msg = f"probabilities have shape {p.probabilities.shape}, expected {expected} (cases, classes)."
        raise DataError(msg)
    bad = np.flatnonzero(~np.isfinite(p.probabilities).all(axis=1))
    if bad.size:
        first = ", ".join(p.ids[i] for i in bad[:3])
        msg = f"{bad.size} of {len(p)} cases have predictions that are not finite, first: {first}. Look at them."
        raise NumericsError(msg)


def questions(p: Predictions) -> tuple[Question, ...]:
    """Return one question per class, in the task's order (both classes for binary).

    Raises:
        NumericsError: a prediction is not finite.
    """
    check_finite(p)
    present = has_target(p)
    out = []
    if p.task.kind == "multilabel":
        for k, name in enumerate(p.task.classes):
            rows = present[:, k]
            score = p.probabilities[rows, k]
            out.append(Question(name, p.targets[rows, k] == 1, score, score > 0.5))
        return tuple(out)
    truth, probabilities = p.targets[present], p.probabilities[present]
    decided = probabilities.argmax(axis=1)
    for k, name in enumerate(p.task.classes):
        out.append(Question(name, truth == k, probabilities[:, k], decided == k))
    return tuple(out)


def ranked_questions(p: Predictions) -> tuple[Question, ...]:
    """Return the questions that a ranking metric asks: of a binary task only the positive class."""
    return questions(p)[1:] if p.task.kind == "binary" else questions(p)


def answered(asked: tuple[Question, ...]) -> tuple[Question, ...]:
    """Return the questions that can be scored."""
    return tuple(question for question in asked if question.has_both)


def per_question(asked: tuple[Question, ...], score: Callable[[Question], float]) -> dict[str, float]:
    """Return the score of each question by class, NaN where it cannot be scored."""
    return {question.name: score(question) if question.has_both else float("nan") for question in asked}


def macro(asked: tuple[Question, ...], score: Callable[[Question], float]) -> float:
    """Return the mean score over the questions that can be scored, NaN where there are none."""
    scores = [score(question) for question in answered(asked)]
    return float(np.mean(scores)) if scores else float("nan")


def skipped_classes(p: Predictions) -> tuple[str, ...]:
    """Return the classes that no mean over classes contains: their cases are all yes or all no."""
    return tuple(question.name for question in ranked_questions(p) if not question.has_both)
