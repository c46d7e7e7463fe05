"""Reliability: how sure a model is and how often it is right, in bins, for a diagram."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allograft.data.predictions import Predictions
from allograft.metrics.questions import has_target, questions

__all__ = ["ReliabilityBin", "reliability"]

BINS = 10


class ReliabilityBin(NamedTuple):
    """Cases with a probability in [low, high), the last bin closed; NaN where empty.

    Args:
        low: lower edge.
        high: upper edge.
        cases: in it.
        confidence: mean probability.
        right: share of yes, or of right answers.
    """

    low: float
    high: float
    cases: int
    confidence: float
    right: float


def reliability(p: Predictions, bins: int = BINS) -> dict[str, tuple[ReliabilityBin, ...]]:
    """Return bins by class asked for: the positive class, each label, or "" for the most probable class.

    Args:
        p: predictions of a binary, multi-class or multi-label task.
        bins: of equal width on [0, 1].
    """
    if p.task.kind == "multiclass":
        rows = has_target(p)
        top = p.probabilities[rows]
        return {"": _bins(top.max(axis=1, initial=0.0), top.argmax(axis=1) == p.targets[rows], bins)}
    asked = questions(p)[1:] if p.task.kind == "binary" else questions(p)
    return {question.name: _bins(question.score, question.truth, bins) for question in asked}


def _bins(score: np.ndarray, right: np.ndarray, bins: int) -> tuple[ReliabilityBin, ...]:
    number = np.minimum((score * bins).astype(np.int64), bins - 1)
    out = []
    for k in range(bins):
        inside = number == k
        count = int(inside.sum())
        mean, share = (float(x[inside].mean()) if count else float("nan") for x in (score, right))
        out.append(ReliabilityBin(k / bins, (k + 1) / bins, count, mean, share))
    return tuple(out)
