"""kNN: how often a case's neighbours among other units have its class; an honest baseline of the estimators.

Idea      Features that suit a task put cases of a class side by side, before anything is learnt.
Paper     Cover, Hart, IEEE Transactions on Information Theory 13, 1967
Formula   balanced accuracy of the majority among the k nearest cases by cosine
Defaults  k = 5 (ours).
Differs   1. Neighbours of a case's own group (patient, block) are never asked: they share more than the class.
          2. Ties go to the class of the nearest of them.
Checked   tests/unit/analysis/test_transferability.py: scikit-learn, one group left out at a time; a group's twins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allograft.analysis.transferability.labelled import labelled
from allograft.core.errors import DataError
from allograft.core.reference import Reference

__all__ = ["PAPER", "balanced", "knn"]

PAPER = Reference(
    title="Nearest neighbor pattern classification",
    authors=("Cover", "Hart"),
    year=1967,
    venue="IEEE Transactions on Information Theory",
    doi="10.1109/TIT.1967.1053964",
)


def knn(features: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike, *, k: int = 5) -> float:
    """Return the balanced accuracy of the neighbours' vote, in [0, 1].

    Args:
        features: (N, D).
        labels: (N,) classes.
        groups: (N,) the independent unit of each case.
        k: neighbours that vote, >= 1.

    Raises:
        DataError: shapes do not fit, there is one class or one group only.
    """
    found, numbers = labelled(features, labels)
    units = np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(units) != len(found) or units.max() < 1:
        msg = f"kNN: neighbours come from other groups; expected at least 2 groups of {len(found)} cases."
        raise DataError(msg)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit = found / np.where(length > 0, length, 1)
    guess = np.empty_like(numbers)
    for i in range(len(found)):
        near = np.where(units == units[i], -np.inf, unit @ unit[i])
        voters = np.argsort(-near, kind="stable")[: min(k, int((units != units[i]).sum()))]
        votes = np.bincount(numbers[voters], minlength=int(numbers.max()) + 1)
        guess[i] = next(numbers[j] for j in voters if votes[numbers[j]] == votes.max())
    return balanced(guess, numbers)


def balanced(guess: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Return the mean over classes of the share that was guessed right."""
    return float(np.mean([(guess[truth == c] == c).mean() for c in np.unique(truth)]))
