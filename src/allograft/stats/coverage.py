"""Does a 95 % interval hold the truth 95 times in 100? Simulated, by number of units and shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from allograft.core.seeds import seed_for
from allograft.stats.intervals import SMALL, mean_interval

__all__ = ["SHAPES", "UNITS", "CoverageRow", "coverage_table", "interval_coverage"]

UNITS = (6, 10, 20, 39, 40, 100)
SHAPES = ("normal", "skewed", "heavy", "ceiling")
RESAMPLES = 1999


class CoverageRow(NamedTuple):
    """What was seen for one number of units and one shape.

    Args:
        shape: law of the paired differences (see `interval_coverage`).
        n: units.
        method: "t" or "BCa" for ours; "naive" for mean ± 1.96 standard errors, for contrast.
        coverage: share of intervals that hold the true mean.
        below: share of intervals that lie wholly below it.
        above: share that lie wholly above it.
        width: mean width in standard deviations.
        trials: intervals simulated.
    """

    shape: str
    n: int
    method: str
    coverage: float
    below: float
    above: float
    width: float
    trials: int


def interval_coverage(
    n: int, shape: str, *, trials: int = 2000, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[CoverageRow, CoverageRow]:
    """Simulate data sets and count how often the interval of their mean holds the true mean.

    Args:
        n: units in a data set.
        shape: "normal"; "skewed" (log-normal, sigma 1); "heavy" (Student t with 3 degrees of
            freedom); "ceiling" (beta(8, 1), scores that crowd at 1).
        trials: data sets.
        resamples: bootstrap draws, where BCa is used.
        seed: of the simulation.

    Returns:
        The row of our interval and the row of the naive one, on the same data.

    Raises:
        ValueError: unknown shape.
    """
    draws, truth, sd = _draw(shape, (trials, n), np.random.default_rng(seed_for("coverage", shape, n, seed)))
    if n < SMALL:
        half = special.stdtrit(n - 1, 0.975) * draws.std(axis=1, ddof=1) / np.sqrt(n)
        ends = draws.mean(axis=1)[:, None] + half[:, None] * np.array([-1.0, 1.0])
    else:
        ends = np.array([mean_interval(row, resamples=resamples, seed=i)[:2] for i, row in enumerate(draws)])
    half = special.ndtri(0.975) * draws.std(axis=1, ddof=1) / np.sqrt(n)
    naive = draws.mean(axis=1)[:, None] + half[:, None] * np.array([-1.0, 1.0])
    rows = [
        CoverageRow(shape, n, name, *_misses(both, truth), float(np.mean(both[:, 1] - both[:, 0]) / sd), trials)
        for name, both in (("t" if n < SMALL else "BCa", ends), ("naive", naive))
    ]
    return rows[0], rows[1]


def coverage_table(
    units: Sequence[int] = UNITS, shapes: Sequence[str] = SHAPES, *, trials: int = 2000, seed: int = 0
) -> tuple[CoverageRow, ...]:
    """Return the rows of `interval_coverage` for every shape and number of units."""
    return tuple(
        row for shape in shapes for n in units for row in interval_coverage(n, shape, trials=trials, seed=seed)
    )


def _misses(ends: npt.NDArray[np.float64], truth: float) -> tuple[float, float, float]:
    below, above = float(np.mean(ends[:, 1] < truth)), float(np.mean(ends[:, 0] > truth))
    return 1 - below - above, below, above


def _draw(shape: str, size: tuple[int, int], rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], float, float]:
    """Return draws of a law with its true mean and standard deviation."""
    if shape == "normal":
        return rng.normal(size=size), 0.0, 1.0
    if shape == "skewed":
        return rng.lognormal(0.0, 1.0, size), float(np.exp(0.5)), float(np.sqrt((np.e - 1) * np.e))
    if shape == "heavy":
        return rng.standard_t(3, size), 0.0, float(np.sqrt(3))
    if shape == "ceiling":
        return rng.beta(8, 1, size), 8 / 9, float(np.sqrt(8 / (81 * 10)))
    msg = f"unknown shape {shape!r}. Known: {', '.join(SHAPES)}."
    raise ValueError(msg)
