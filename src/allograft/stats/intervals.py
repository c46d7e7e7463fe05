"""Intervals of a mean over units and of a proportion.

Below `SMALL` units the t interval, from there on the BCa bootstrap: the bootstrap is too narrow for
few units, the t interval takes no notice of skew. docs/statistics-coverage.md has the measured
coverage of both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from allograft.core.errors import DataError
from allograft.stats.bootstrap import RESAMPLES, bootstrap_values

__all__ = ["SMALL", "Interval", "mean_interval", "no_spread_half", "t_interval", "wilson_interval"]

SMALL = 40
"""Units from which the BCa bootstrap takes over from t (ours, from the coverage table)."""


class Interval(NamedTuple):
    """A confidence interval; both ends NaN where there is none.

    Args:
        low: lower end.
        high: upper end.
        level: nominal coverage in (0, 1).
        method: "t", "BCa", "jackknife t", "DeLong", "Wilson" or "no spread".
    """

    low: float
    high: float
    level: float
    method: str


def mean_interval(
    values: npt.NDArray[np.float64], level: float = 0.95, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return the interval of the mean of one value per independent unit.

    Args:
        values: (n,) finite; where all are equal the interval is that of `no_spread_half`.
        level: nominal coverage in (0, 1).
        resamples: bootstrap draws, used from `SMALL` units on.
        seed: of those draws.

    Raises:
        DataError: a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n > 1 and np.ptp(values) <= 1e-12 * max(1.0, abs(float(values[0]))):
        half, mean = no_spread_half(n, level), float(values.mean())
        return Interval(mean - half, mean + half, level, "no spread")
    if n < SMALL:
        return t_interval(values, level)
    return Interval(*bootstrap_values(values, resamples=resamples, seed=seed).interval(level), level, "BCa")


def no_spread_half(n: int, level: float = 0.95) -> float:
    """Return half the width of an interval when n units all gave the same value (rule of three).

    A spread of 0 would claim certainty. That n units agree only shows that rarely, at most in a share
    `1 - ((1 - level) / 2) ** (1 / n)` of units, something else happens; a unit's value is taken to
    move by at most 1, as that of every metric in [0, 1] does. For a proportion of 0 or 1 this is
    the Clopper-Pearson interval.

    >>> round(no_spread_half(12), 3)
    0.265
    """
    return float(1 - ((1 - level) / 2) ** (1 / n))


def t_interval(values: npt.NDArray[np.float64], level: float = 0.95) -> Interval:
    """Return Student's interval of the mean; NaN for fewer than two values.

    Raises:
        DataError: a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        msg = "an interval of a mean needs finite values. Leave undefined units out of both arms and report them."
        raise DataError(msg)
    if len(values) < 2:
        return Interval(float("nan"), float("nan"), level, "t")
    half = special.stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean() - half), float(values.mean() + half), level, "t")


def wilson_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """Return Wilson's interval of a proportion; each trial must be an independent unit.

    Args:
        successes: 0 to n.
        n: trials; with 0 both ends are NaN.
        level: nominal coverage in (0, 1).

    >>> tuple(round(x, 3) for x in wilson_interval(9, 10)[:2])
    (0.596, 0.982)
    """
    if not 0 <= successes <= n:
        msg = f"a proportion needs 0 <= successes <= n, got {successes} of {n}."
        raise DataError(msg)
    if n == 0:
        return Interval(float("nan"), float("nan"), level, "Wilson")
    z = float(special.ndtri((1 + level) / 2))
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At 0 and n the formula gives 0 and 1 exactly; rounding must not leave the unit interval.
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return Interval(low, high, level, "Wilson")
