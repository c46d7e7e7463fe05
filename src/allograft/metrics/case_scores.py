"""Per-case scores: how accuracy, log loss and Brier treat absent targets and several labels.

A case of a multi-label task scores the mean over its labels that have a target; a case without any
target has no score (NaN).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from allograft.data.predictions import Predictions
from allograft.metrics.questions import check_finite, has_target

__all__ = ["case_scores"]

Array = npt.NDArray[np.float64]
Rows = Callable[[npt.NDArray[np.int64], Array], Array]
Cells = Callable[[npt.NDArray[np.bool_], Array], Array]


def case_scores(p: Predictions, rows: Rows, cells: Cells) -> Array:
    """Return (N,) scores.

    Args:
        p: predictions.
        rows: scores (n,) from classes (n,) and probabilities (n, L), for one label per case.
        cells: scores (N, L) from truth (N, L) and probabilities (N, L), for many labels per case.

    Raises:
        NumericsError: a prediction is not finite.
    """
    check_finite(p)
    present = has_target(p)
    out = np.full(len(p), np.nan)
    if p.task.kind != "multilabel":
        out[present] = rows(p.targets[present], p.probabilities[present])
        return out
    scores = np.where(present, cells(p.targets == 1, p.probabilities), 0.0)
    labels = present.sum(axis=1)
    some = labels > 0
    out[some] = scores[some].sum(axis=1) / labels[some]
    return out
