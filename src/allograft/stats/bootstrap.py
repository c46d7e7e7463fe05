"""The bias-corrected and accelerated (BCa) bootstrap, for values and for clusters of cases.

Idea      Draw units with replacement, compute the statistic again, read the interval off the
          quantiles, shifted for bias (z0) and skew (acceleration a, from the jackknife).
Paper     Efron, J. Am. Stat. Assoc. 82(397), 1987, doi 10.1080/01621459.1987.10478410
Formula   alpha' = Phi(z0 + (z0 + z_alpha) / (1 - a (z0 + z_alpha)))
Differs   The p value is the one that belongs to the interval: the smallest 1 - level at which
          the interval leaves out 0 (closed form). The two can therefore not contradict each other.
Checked   tests/unit/stats/test_bootstrap.py: equal to scipy.stats.bootstrap on the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from allograft.core.errors import DataError
from allograft.stats.units import unit_index

__all__ = [
    "RESAMPLES",
    "ArmReplicates",
    "Replicates",
    "bootstrap_difference",
    "bootstrap_values",
    "cluster_replicates",
]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

RESAMPLES = 4999
"""Bootstrap draws (ours): the end of a 95 % interval then moves by about 1 % of its width."""

MAX_UNDEFINED = 0.05
"""Share of draws without a value above which no interval is given (ours)."""

CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """A statistic, again on resampled units and again without each unit.

    Args:
        observed: its value on all units.
        boot: (B,) values on resampled units; may be empty where only the jackknife was asked for.
        jackknife: (n,) values with one unit left out.
        undefined: draws on which the statistic had no value (one class only, say); not in `boot`.
    """

    observed: float
    boot: Array
    jackknife: Array
    undefined: int = 0

    @property
    def has_interval(self) -> bool:
        """Whether enough draws have a value: else an interval would describe other data."""
        draws = len(self.boot) + self.undefined
        enough = len(self.boot) > 0 and self.undefined <= MAX_UNDEFINED * draws
        return enough and bool(np.isfinite(self.jackknife).all() and np.isfinite(self.observed))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the BCa interval, (NaN, NaN) where the draws do not carry one."""
        if not self.has_interval:
            return (float("nan"), float("nan"))
        z = special.ndtri([(1 - level) / 2, (1 + level) / 2])
        z0, skew = self._bias(), self._acceleration()
        shares = special.ndtr(z0 + (z0 + z) / (1 - skew * (z0 + z)))
        low, high = np.quantile(self.boot, shares)
        return float(low), float(high)

    def p_value(self, null: float = 0.0) -> float:
        """Return the two-sided p that belongs to `interval`: p < 1 - level where it leaves out `null`.

        Where all draws lie on one side of `null` they only show that p is below 2 / (B + 1); how far
        below is then Student's t with the jackknife's error, so that a correction for many
        comparisons does not fail for want of draws.
        """
        if not self.has_interval:
            return float("nan")
        draws = len(self.boot)
        below = (np.sum(self.boot < null) + np.sum(self.boot <= null)) / 2 / draws
        if below in {0.0, 1.0}:
            return min(2 / (draws + 1), self._tail(null))
        shift = special.ndtri(below) - self._bias()
        skew = self._acceleration()
        if 1 + skew * shift <= 0:
            return 2 / (draws + 1)  # no level's interval reaches out to the null
        z = shift / (1 + skew * shift) - self._bias()
        return float(np.clip(2 * special.ndtr(-abs(z)), 2 / (draws + 1), 1.0))

    def jackknife_error(self) -> float:
        """Return the standard error from leaving out one unit at a time."""
        n = len(self.jackknife)
        if n < 2:
            return float("nan")
        gap = self.jackknife - self.jackknife.mean()
        if np.abs(gap).max() <= 1e-12 * max(1.0, abs(self.observed)):
            return 0.0  # rounding noise of equal values is no spread
        return float(np.sqrt((n - 1) / n * np.sum(gap**2)))

    def _tail(self, null: float) -> float:
        """Return the two-sided p of Student's t with the jackknife's standard error."""
        se = self.jackknife_error()
        if not se > 0:
            return 1.0
        return float(2 * special.stdtr(len(self.jackknife) - 1, -abs(self.observed - null) / se))

    def _bias(self) -> float:
        """z0: where the observed value lies among the draws; ties count half, as scipy does."""
        draws = len(self.boot)
        below = (np.sum(self.boot < self.observed) + np.sum(self.boot <= self.observed)) / 2 / draws
        return float(special.ndtri(np.clip(below, 0.5 / draws, 1 - 0.5 / draws)))

    def _acceleration(self) -> float:
        """a: the skew of the jackknife values, 0 where they do not vary."""
        gap = self.jackknife.mean() - self.jackknife
        spread = np.sum(gap**2)
        # Rounding noise of equal values must not count as skew.
        if spread <= (1e-12 * max(1.0, abs(self.observed))) ** 2 * len(gap):
            return 0.0
        return float(np.sum(gap**3) / (6 * spread**1.5))


@dataclass(frozen=True, kw_only=True)
class ArmReplicates:
    """`Replicates` of K arms on the same draws, so that every pair of arms is compared fairly.

    Args:
        observed: (K,).
        boot: (B, K), NaN where undefined.
        jackknife: (n, K).
    """

    observed: Array
    boot: Array
    jackknife: Array

    def arm(self, k: int) -> Replicates:
        """Return the replicates of one arm."""
        return _defined(float(self.observed[k]), self.boot[:, k], self.jackknife[:, k])

    def difference(self, i: int, j: int) -> Replicates:
        """Return the replicates of arm i minus arm j."""
        return _defined(
            float(self.observed[i] - self.observed[j]),
            self.boot[:, i] - self.boot[:, j],
            self.jackknife[:, i] - self.jackknife[:, j],
        )


def bootstrap_values(
    values: Array,
    statistic: Callable[..., Array] = np.mean,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Replicates:
    """Resample a statistic of one value per unit.

    Args:
        values: (n,) finite, n >= 2.
        statistic: takes an array and `axis`, like `numpy.mean`.
        resamples: B >= 1.
        seed: the same seed gives the same draws.

    Raises:
        DataError: fewer than two values, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        msg = f"a bootstrap needs at least 2 finite values in one row, got shape {values.shape}: {values[:5]}."
        raise DataError(msg)
    n, rng = len(values), np.random.default_rng(seed)
    rows = max(1, CHUNK // n)
    parts = [
        statistic(values[rng.integers(0, n, size=(min(rows, resamples - done), n))], axis=-1)
        for done in range(0, resamples, rows)
    ]
    # Windows of n - 1 over the values written twice: each leaves out one value.
    rest = np.lib.stride_tricks.sliding_window_view(np.concatenate([values, values[:-2]]), n - 1)
    return Replicates(
        observed=float(statistic(values, axis=-1)),
        boot=np.concatenate(parts).astype(np.float64),
        jackknife=np.asarray(statistic(rest, axis=-1), dtype=np.float64),
    )


def cluster_replicates(
    statistic: Callable[[Index], Array],
    units: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ArmReplicates:
    """Resample whole units with all their cases, for statistics of a set such as AUROC.

    Args:
        statistic: takes case numbers (m,), repeats included, and returns (K,) values, one per
            arm, NaN where undefined.
        units: N unit names, one per case.
        resamples: B >= 0; with 0 only the jackknife is computed.
        seed: the same seed gives the same draws.

    Raises:
        DataError: fewer than two units.
    """
    names, index = unit_index(units)
    if len(names) < 2:
        msg = f"resampling needs at least 2 independent units, got {len(names)}. Say which column names the unit."
        raise DataError(msg)
    members = [np.flatnonzero(index == k) for k in range(len(names))]
    rng = np.random.default_rng(seed)
    observed = np.atleast_1d(statistic(np.arange(len(index))))
    boot = np.empty((resamples, len(observed)))
    for row in range(resamples):
        boot[row] = statistic(np.concatenate([members[k] for k in rng.integers(0, len(names), len(names))]))
    jackknife = np.stack([np.atleast_1d(statistic(np.flatnonzero(index != k))) for k in range(len(names))])
    return ArmReplicates(observed=observed.astype(np.float64), boot=boot, jackknife=jackknife.astype(np.float64))


def bootstrap_difference(
    statistic: Callable[[Index], float], units: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Replicates:
    """Resample one number of a set, such as the AUROC of one model minus that of another.

    See `cluster_replicates`; use that for more than one pair of arms.
    """
    return cluster_replicates(lambda cases: np.array([statistic(cases)]), units, resamples=resamples, seed=seed).arm(0)


def _defined(observed: float, boot: Array, jackknife: Array) -> Replicates:
    """Keep the draws that have a value and count the others."""
    has = np.isfinite(boot)
    return Replicates(observed=observed, boot=boot[has], jackknife=jackknife, undefined=int((~has).sum()))
