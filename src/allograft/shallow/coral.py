"""CORAL: correlation alignment.

Idea      Whiten the source and colour it with the target's covariance: what varies together in the target then varies
          together in the source too.
Paper     Sun, Feng, Saenko. Return of frustratingly easy domain adaptation. AAAI 2016.  arXiv:1511.05547
Formula   z = x_s Cs^(-1/2) Ct^(1/2);   C = cov + shrink I;   the target stays as it is
Differs   `centre` moves the source's mean to the target's too; the formula leaves means alone, for features that have
          been centred before.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from allograft.core.errors import ConfigError
from allograft.shallow.domains import Affine, Array, samples, two_domains

__all__ = ["CORAL"]


class CORAL(BaseEstimator):  # type: ignore[misc]
    """Correlation alignment of the source with the target.

    Args:
        shrink: added to the covariances' diagonals, >= 0; 0 needs more source samples than features.
        centre: whether the source's mean moves to the target's.

    Attributes:
        source_map_, target_map_: the affine maps; the target's changes nothing.

    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> CORAL(shrink=0.0).fit(x, 3 * x).transform_source(x).ravel()
    array([0., 3., 6.])
    """

    def __init__(self, shrink: float = 1.0, *, centre: bool = False) -> None:
        self.shrink = shrink
        self.centre = centre

    def fit(self, source: npt.ArrayLike, target: npt.ArrayLike) -> Self:
        """Find the map.

        Args:
            source: (n_s, d), n_s >= 2.
            target: (n_t, d), n_t >= 2.

        Raises:
            ConfigError: shrink is negative, or 0 where the source does not vary along some direction.
            DataError: the domains differ in width.
        """
        xs, xt = two_domains(self, source, target, least=2)
        width, ridge = xs.shape[1], self.shrink * np.eye(xs.shape[1])
        if self.shrink < 0:
            msg = f"CORAL: shrink {self.shrink:g}; it is added to variances. Give 0 or more."
            raise ConfigError(msg)
        matrix = _power(_covariance(xs) + ridge, -0.5) @ _power(_covariance(xt) + ridge, 0.5)
        shift = xt.mean(0) - xs.mean(0) @ matrix if self.centre else np.zeros(width)
        self.source_map_ = Affine(matrix, shift)
        self.target_map_ = Affine(np.eye(width), np.zeros(width))
        return self

    def transform_source(self, x: npt.ArrayLike) -> Array:
        """Return (n, d) of source samples (n, d)."""
        return self.source_map_(samples(self, x))

    def transform_target(self, x: npt.ArrayLike) -> Array:
        """Return target samples (n, d) as they are."""
        return self.target_map_(samples(self, x))


def _covariance(x: Array) -> Array:
    return np.atleast_2d(np.cov(x, rowvar=False))


def _power(matrix: Array, exponent: float) -> Array:
    """Return a power of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    if exponent < 0 and values[0] <= 1e-12 * max(1.0, values[-1]):
        msg = "CORAL: the source does not vary along some direction, which cannot be whitened. Give shrink > 0."
        raise ConfigError(msg)
    return np.asarray((vectors * np.clip(values, 0, None) ** exponent) @ vectors.T)
