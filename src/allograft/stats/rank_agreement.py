"""Rank agreement: does an estimate made before training put sources in the order of their true scores?"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, weightedtau

from allograft.core.errors import DataError

__all__ = ["FEW", "Agreement", "rank_agreement"]

FEW = 8
"""Sources below which a rank correlation says little."""

REPLICATES = 2000


class Agreement(NamedTuple):
    """How well an estimate ranks sources.

    Args:
        weighted_tau: Kendall's tau in which the top ranks weigh more (scipy's `weightedtau`), in [-1, 1].
        interval: 95 % of the bootstrap over sources for it, None where it has no value.
        kendall: tau-b, in [-1, 1].
        regret: best true score minus the true score of the source that the estimate puts first, >= 0.
        sources: how many were ranked.
        warning: what a reader must know, "" for nothing.

    Correlations are None below 3 sources and where one side does not vary.
    """

    weighted_tau: float | None
    interval: tuple[float, float] | None
    kendall: float | None
    regret: float
    sources: int
    warning: str


def rank_agreement(estimate: npt.ArrayLike, truth: npt.ArrayLike, *, seed: int = 0) -> Agreement:
    """Compare an estimate with what training found.

    Args:
        estimate: (n,) of each source; larger promises more.
        truth: (n,) of each source; larger is better.
        seed: of the bootstrap over sources.

    Raises:
        DataError: lengths differ, there is no source, or a value is not finite.
    """
    x, y = np.asarray(estimate, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x) or not np.isfinite([x, y]).all():
        msg = (
            f"rank agreement: expected finite estimates and true scores of the same sources, got {x.shape}, {y.shape}."
        )
        raise DataError(msg)
    chosen = np.flatnonzero(x == x.max())
    weighted = _tau(x, y)
    return Agreement(
        weighted_tau=weighted,
        interval=None if weighted is None else _interval(x, y, seed),
        kendall=None if weighted is None else float(kendalltau(x, y).statistic),
        regret=float(y.max() - y[chosen].mean()),  # a tie at the top is a draw between its sources
        sources=len(x),
        warning=f"{len(x)} sources: fewer than {FEW} say little of how well an estimate ranks." if len(x) < FEW else "",
    )


def _tau(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float | None:
    """Return the weighted tau; None where it has no value."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = float(weightedtau(x, y).statistic)
    return found if np.isfinite(found) else None


def _interval(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], seed: int) -> tuple[float, float] | None:
    """Return the middle 95 % of the weighted tau over sources drawn with replacement, where it has a value."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(x), size=(REPLICATES, len(x)))
    values = [found for found in (_tau(x[draw], y[draw]) for draw in rows) if found is not None]
    if not values:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
