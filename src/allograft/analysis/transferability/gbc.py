"""GBC: how little the classes overlap in feature space, each drawn as a Gaussian.

Idea      Two classes whose Gaussians overlap are hard to separate; the overlaps of all pairs are added up.
Paper     Pandy, Agostinelli, Uijlings, Ferrari, Mensink, CVPR 2022, arXiv:2111.12780
Formula   - sum_{c < c'} exp(-DB(c, c')),  DB = (m - m')^T S^-1 (m - m') / 8 + ln(det S / sqrt(det S_c det S_c')) / 2,
          S = (S_c + S_c') / 2, diagonal
Defaults  components = 64: leading directions that features are first turned to (ours).
Differs   1. Directions below 1e-6 of the leading one's variance are left out, and a class's variance below that is
          raised to it, so that a class of few cases has a density.
          2. Features are always turned to their principal directions, so that rotations change nothing.
Checked   tests/unit/analysis/test_transferability.py: worked coefficient; rotations; classes that lie apart.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from allograft.analysis.transferability.labelled import Array, class_rows, labelled, principal
from allograft.core.reference import Reference

__all__ = ["PAPER", "bhattacharyya", "gbc"]

PAPER = Reference(
    title="Transferability Estimation using Bhattacharyya Class Separability",
    authors=("Pandy", "Agostinelli", "Uijlings", "Ferrari", "Mensink"),
    year=2022,
    venue="CVPR",
    arxiv="2111.12780",
)

FLOOR = 1e-6


def gbc(features: npt.ArrayLike, labels: npt.ArrayLike, *, components: int = 64) -> float:
    """Return minus the summed overlaps, in [-L (L - 1) / 2, 0]; larger promises more.

    Args:
        features: (N, D).
        labels: (N,) classes.
        components: leading directions that are looked at, >= 1.

    Raises:
        DataError: shapes do not fit, values are not finite, or there is one class only.
    """
    found, numbers = labelled(features, labels)
    turned = principal(found, components, least=np.sqrt(FLOOR))
    floor = max(FLOOR * float(turned[:, 0].var()), 1e-300)
    classes = [(turned[rows].mean(0), np.maximum(turned[rows].var(0), floor)) for rows in class_rows(numbers)]
    return -float(sum(np.exp(-bhattacharyya(*a, *b)) for a, b in combinations(classes, 2)))


def bhattacharyya(mean: Array, variance: Array, other_mean: Array, other_variance: Array) -> float:
    """Return the Bhattacharyya distance of two Gaussians with diagonal covariances, each argument (d,)."""
    both = (variance + other_variance) / 2
    apart = ((mean - other_mean) ** 2 / both).sum() / 8
    shape = (np.log(both) - (np.log(variance) + np.log(other_variance)) / 2).sum() / 2
    return float(apart + shape)
