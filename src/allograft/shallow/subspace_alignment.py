"""Subspace alignment: turn the source's principal axes into the target's.

Idea      Each domain lies near a subspace of its own. The best linear map of the source's basis onto the target's is
          known in closed form; behind it, source samples have coordinates that mean what the target's mean.
Paper     Fernando, Habrard, Sebban, Tuytelaars. Unsupervised visual domain adaptation using subspace alignment. ICCV
          2013.  doi:10.1109/ICCV.2013.368
Formula   M = Ps'Pt = argmin ||Ps M - Pt||_F;   source (x - mean_s) Ps M,   target (x - mean_t) Pt;   Ps, Pt (d, k)
Differs   The paper bounds k by a theorem on the stability of the bases; here it is given, or the share of variance is.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from allograft.core.errors import ConfigError
from allograft.shallow.domains import Affine, Array, samples, two_domains

__all__ = ["SubspaceAlignment"]


class _Axes(NamedTuple):
    """Mean (d,), principal axes (d, r) and the share of variance that the first 1, 2, ... of them hold (r,)."""

    mean: Array
    basis: Array
    held: Array


class SubspaceAlignment(BaseEstimator):  # type: ignore[misc]
    """Align principal subspaces.

    Args:
        components: k >= 1, or a share of variance in (0, 1): the smallest k whose axes hold it in both domains, at most
            the smaller rank.

    Attributes:
        components_: k.
        source_basis_, target_basis_: Ps and Pt (d, k).
        alignment_: M (k, k).
        distance_: ||Ps M - Pt||_F.
        cosines_: (k,), of the principal angles between the subspaces, descending.
        source_map_, target_map_: the two affine maps.

    >>> import numpy as np
    >>> x = np.array([[0.0, 0.0], [1.0, 0.1], [2.0, -0.1], [3.0, 0.0]])
    >>> float(SubspaceAlignment(1).fit(x, x + 5).distance_ < 1e-9)
    1.0
    """

    def __init__(self, components: float = 0.9) -> None:
        self.components = components

    def fit(self, source: npt.ArrayLike, target: npt.ArrayLike) -> Self:
        """Find the subspaces and the alignment.

        Args:
            source: (n_s, d), n_s >= 2.
            target: (n_t, d), n_t >= 2.

        Raises:
            ConfigError: more components than a domain's samples span.
            DataError: the domains differ in width.
        """
        xs, xt = two_domains(self, source, target, least=2)
        one, two = _axes(xs), _axes(xt)
        k = self._count(one, two)
        ps, pt = one.basis[:, :k], two.basis[:, :k]
        self.components_, self.source_basis_, self.target_basis_ = k, ps, pt
        self.alignment_: Array = ps.T @ pt
        self.distance_ = float(np.linalg.norm(ps @ self.alignment_ - pt))
        self.cosines_: Array = np.clip(np.linalg.svd(self.alignment_, compute_uv=False), 0, 1)
        turned = ps @ self.alignment_
        self.source_map_ = Affine(turned, -one.mean @ turned)
        self.target_map_ = Affine(pt, -two.mean @ pt)
        return self

    def transform_source(self, x: npt.ArrayLike) -> Array:
        """Return (n, k) of source samples (n, d)."""
        return self.source_map_(samples(self, x))

    def transform_target(self, x: npt.ArrayLike) -> Array:
        """Return (n, k) of target samples (n, d)."""
        return self.target_map_(samples(self, x))

    def _count(self, one: _Axes, two: _Axes) -> int:
        most = min(one.basis.shape[1], two.basis.shape[1])
        if 0 < self.components < 1:
            needed: int = max(int(np.searchsorted(each.held, self.components - 1e-12)) + 1 for each in (one, two))
            return needed if needed < most else most
        if self.components != int(self.components) or not 1 <= self.components <= most:
            msg = (
                f"SubspaceAlignment: components {self.components:g}; the domains' samples span {most} dimensions. Give "
                f"a whole number from 1 to {most}, or a share of variance in (0, 1)."
            )
            raise ConfigError(msg)
        return int(self.components)


def _axes(x: Array) -> _Axes:
    """Return the principal axes along which the samples vary, each with its largest entry positive."""
    mean = x.mean(0)
    _, sizes, rows = np.linalg.svd(x - mean, full_matrices=False)
    real = sizes > sizes[0] * 1e-10 if sizes[0] > 0 else np.zeros(len(sizes), dtype=bool)
    if not real.any():
        msg = "SubspaceAlignment: all samples of a domain are alike, they span nothing. Give samples that vary."
        raise ConfigError(msg)
    rows, variance = rows[real], sizes[real] ** 2
    signs = np.where(rows[np.arange(len(rows)), np.abs(rows).argmax(1)] < 0, -1.0, 1.0)
    return _Axes(mean, np.asarray((rows * signs[:, None]).T), np.asarray(np.cumsum(variance) / variance.sum()))
