"""Paired comparison over independent units: the same patients under two arms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from allograft.core.errors import DataError
from allograft.stats.bootstrap import RESAMPLES, Replicates, bootstrap_values
from allograft.stats.evidence import Evidence, from_replicates, from_t
from allograft.stats.intervals import SMALL, no_spread_half
from allograft.stats.verdict import Arms, Comparison, compare

__all__ = ["compare_sets", "compare_units", "paired_evidence"]

Array = npt.NDArray[np.float64]
_NOBODY = Arms()


def compare_units(
    a: Array, b: Array, *, unit: str, margin: float, level: float = 0.95, arms: Arms = _NOBODY, seed: int = 0
) -> Comparison:
    """Compare two arms by one value per independent unit.

    Interval and p value come from one test and cannot contradict each other: Student's paired t
    below 40 units, the BCa bootstrap of the mean difference from 40 on. Wilcoxon's signed-rank
    test (and t, where it is not the one used) stands beside it in `also`.

    Args:
        a: (n,) value of each unit under arm a, finite.
        b: (n,) under arm b, same units in the same order.
        unit: what an independent unit is ("patient").
        margin: smallest difference that matters, > 0.
        level: confidence level.
        arms: names, metric and direction.
        seed: of the bootstrap's draws.

    Raises:
        DataError: lengths differ or a value is not finite.
    """
    return compare(paired_evidence(a, b, level=level, seed=seed), arms=arms, unit=unit, margin=margin)


def compare_sets(
    replicates: Replicates, *, unit: str, margin: float, level: float = 0.95, arms: Arms = _NOBODY
) -> Comparison:
    """Compare two arms by a metric of the whole set (AUROC), resampled over units.

    Args:
        replicates: of the difference, from `bootstrap_difference` or `ArmReplicates.difference`.
        unit: what an independent unit is.
        margin: smallest difference that matters, > 0.
        level: confidence level.
        arms: names, metric and direction.
    """
    return compare(from_replicates(replicates, level=level), arms=arms, unit=unit, margin=margin)


def paired_evidence(a: Array, b: Array, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Evidence:
    """Return the evidence behind `compare_units`."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        msg = f"paired values need one value per unit and arm, got {a.shape} and {b.shape}. Pair them by unit."
        raise DataError(msg)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        bad = int(np.flatnonzero(~(np.isfinite(a) & np.isfinite(b)))[0])
        msg = f"unit {bad}: values {a[bad]} and {b[bad]} are not both finite. Leave it out of both arms and report it."
        raise DataError(msg)
    gap, n = a - b, len(a)
    mean = float(gap.mean()) if n else float("nan")
    if n and np.ptp(gap) <= 1e-12 * max(1.0, abs(mean)):
        return _without_spread(mean, n, level)
    se = float(gap.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    student = from_t(mean, se, n - 1, n_units=n, test="paired t", level=level)
    also = {"Wilcoxon signed-rank": _wilcoxon(gap)}
    if n < SMALL:
        return replace(student, also=also)
    by_draws = from_replicates(bootstrap_values(gap, resamples=resamples, seed=seed), level=level)
    return replace(by_draws, also={**also, "paired t": student.p})


def _wilcoxon(gap: Array) -> float:
    """Return p of the signed-rank test; zero differences are dropped (Wilcoxon's own rule).

    With ties the normal approximation is used: SciPy's exact permutation would take a second.
    """
    if len(gap) < 2:
        return float("nan")
    sizes = np.abs(gap[gap != 0])
    tied = len(np.unique(sizes)) < len(sizes) or len(sizes) < len(gap)
    return float(stats.wilcoxon(gap, method="asymptotic" if tied else "auto").pvalue)


def _without_spread(mean: float, n: int, level: float) -> Evidence:
    """Every unit differs by the same amount: t would claim certainty, signs and the rule of three do not."""
    p = 1.0 if abs(mean) <= 1e-12 else min(1.0, 2.0 ** (1 - n))
    mean = 0.0 if abs(mean) <= 1e-12 else mean
    wide, narrow = no_spread_half(n, level), no_spread_half(n, 2 * level - 1)
    return Evidence(
        difference=mean,
        ci=(mean - wide, mean + wide),
        ci_equivalence=(mean - narrow, mean + narrow),
        p=p,
        test="sign test",
        n_units=n,
        se=0.0,
        level=level,
        note="every unit has the same difference",
    )
