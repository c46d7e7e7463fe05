"""H-score: how much of the features' variance lies between classes, in units of the variance as a whole.

Idea      Features are good when class means differ a lot and little else does.
Paper     Bao et al., ICIP 2019 (H-score); Ibrahim, Ponomareva, Mazumder, ECML 2022, arXiv:2110.06893 (shrinkage)
Formula   tr(cov(F)^+ cov(E[F | y])); shrunk by the share a:
          (1 - a) tr(((1 - a) cov(F) + a m I)^-1 cov(E[F | y])), m the mean variance
Defaults  shrinkage: Ledoit and Wolf's share where there are fewer than 5 cases a feature, none otherwise (ours).
Differs   1. Without shrinkage and with D >= N the score is the number of classes less one whatever the features,
          so the covariance is shrunk toward a multiple of the identity there; the switch at 5 cases a feature is ours.
Checked   tests/unit/analysis/test_transferability.py: worked value; invariant to invertible maps; the share
          against scikit-learn; saturation without shrinkage.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from allograft.analysis.transferability.labelled import RANK, Array, class_rows, labelled
from allograft.core.reference import Reference

__all__ = ["PAPER", "h_score", "shrinkage_share"]

PAPER = Reference(
    title="An Information-Theoretic Approach to Transferability in Task Transfer Learning",
    authors=("Bao", "Li", "Huang", "Zhang", "Zheng", "Zamir", "Guibas"),
    year=2019,
    venue="ICIP",
)

ENOUGH = 5
"""Cases a feature from which on the covariance is taken as it is."""


def h_score(features: npt.ArrayLike, labels: npt.ArrayLike, *, shrinkage: float | Literal["auto"] = "auto") -> float:
    """Return the H-score, in [0, L - 1] for L classes; larger promises more.

    Args:
        features: (N, D).
        labels: (N,) classes.
        shrinkage: share of the identity in the covariance, in [0, 1]; "auto" decides by N and D.

    Raises:
        DataError: shapes do not fit, values are not finite, or there is one class only.
    """
    found, numbers = labelled(features, labels)
    centred = found - found.mean(0)
    if not centred.any():
        return 0.0
    share = shrinkage
    if share == "auto":
        share = 0.0 if len(found) >= ENOUGH * found.shape[1] else shrinkage_share(found)
    _, s, v = np.linalg.svd(centred, full_matrices=False)
    kept = s > RANK * s[0]
    s, v = s[kept], v[kept]
    variance = s**2 / len(found)
    shrunk = (1 - share) * variance + share * variance.sum() / found.shape[1]
    rows = class_rows(numbers)
    means = np.stack([centred[members].mean(0) for members in rows]) @ v.T  # class means lie in the features' span
    weights = np.array([len(members) for members in rows]) / len(found)
    return float((1 - share) * ((weights[:, None] * means**2).sum(0) / shrunk).sum())


def shrinkage_share(features: Array) -> float:
    """Return Ledoit and Wolf's share of the identity for the covariance of features (N, D), in [0, 1]."""
    centred = features - features.mean(0)
    n, d = centred.shape
    gram = centred @ centred.T if n < d else centred.T @ centred
    square = float((gram**2).sum()) / n**2  # squared Frobenius norm of the covariance
    mean = float((centred**2).sum()) / (n * d)
    distance = square - d * mean**2
    error = (float(((centred**2).sum(1) ** 2).sum()) / n - square) / n
    return 1.0 if distance <= 0 else float(np.clip(error / distance, 0, 1))
