"""Linear probe: how well a linear classifier of the features does on units that it has not seen.

Idea      What a frozen encoder with a linear head would reach, found without a network; an honest baseline.
Paper     Alain, Bengio, ICLR workshop 2017, arXiv:1610.01644
Formula   balanced accuracy of logistic regression, cross-validated by group
Defaults  folds = 5, C = 1 after features are divided by one number, their overall deviation (ours).
Differs   1. Classes weigh alike in the fit, as they do in the score.
          2. One scale for all features instead of one for each: rotations of the features change nothing.
Checked   tests/unit/analysis/test_transferability.py: scikit-learn's cross_val_predict; groups never shared.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from allograft.analysis.transferability.knn import balanced
from allograft.analysis.transferability.labelled import Array, Labels, labelled
from allograft.core.errors import DataError
from allograft.core.reference import Reference

__all__ = ["PAPER", "linear_probe"]

PAPER = Reference(
    title="Understanding intermediate layers using linear classifier probes",
    authors=("Alain", "Bengio"),
    year=2017,
    venue="ICLR workshop",
    arxiv="1610.01644",
)


def linear_probe(features: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike, *, folds: int = 5) -> float:
    """Return the balanced accuracy on left-out groups, in [0, 1].

    Args:
        features: (N, D).
        labels: (N,) classes.
        groups: (N,) the independent unit of each case.
        folds: parts, >= 2; fewer where a class has fewer groups.

    Raises:
        DataError: shapes do not fit, or a class lies in one group only.
    """
    found, numbers = labelled(features, labels)
    units = np.unique(np.asarray(groups), return_inverse=True)[1]
    least = min(len(np.unique(units[numbers == c])) for c in range(int(numbers.max()) + 1))
    if least < 2:
        msg = "linear probe: a class lies in one group only, so that no other group can be asked of it."
        raise DataError(msg)
    parts = StratifiedGroupKFold(min(folds, least), shuffle=True, random_state=0)
    guess = np.full_like(numbers, -1)
    for train, test in parts.split(found, numbers, units):
        if len(np.unique(numbers[train])) > 1:
            guess[test] = _guess(found[train], numbers[train], found[test])
    return balanced(guess, numbers)


def _guess(features: Array, labels: Labels, asked: Array) -> Labels:
    """Fit on features (n, D) and return the classes of `asked` (m, D)."""
    centre = features.mean(0)
    spread = float(features.std()) or 1.0
    inside, outside = (features - centre) / spread, (asked - centre) / spread
    if inside.shape[1] > len(inside):  # weights lie in the span of the cases: the same fit, far smaller
        v = np.linalg.svd(inside, full_matrices=False)[2]
        inside, outside = inside @ v.T, outside @ v.T
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(inside, labels)
    return np.asarray(model.predict(outside), dtype=np.int64)
