"""Tests over repeated training runs (seeds): training noise, which is not patient noise.

A difference over seeds says that training again would give it again *on these test cases*. It says
nothing of other patients; that is what `paired` is for. A report gives both and names the unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.stats.evidence import Evidence, from_t
from allograft.stats.paired import paired_evidence

__all__ = ["Summary", "paired_seeds", "ttest_from_summary", "welch"]

Array = npt.NDArray[np.float64]


class Summary(NamedTuple):
    """What a paper's table gives of an arm.

    Args:
        mean: over runs.
        sd: sample standard deviation (divisor n - 1) over runs, >= 0.
        n: runs, >= 2.
    """

    mean: float
    sd: float
    n: int


def ttest_from_summary(a: Summary, b: Summary, *, equal_variances: bool = False, level: float = 0.95) -> Evidence:
    """Return the two-sided t test of two independent arms from their summaries.

    Args:
        a: one arm.
        b: the other.
        equal_variances: Student's pooled test instead of Welch's.
        level: confidence level.

    Returns:
        Evidence whose n_units is the smaller number of runs.

    Raises:
        DataError: an arm has fewer than two runs or a negative spread.
    """
    for arm in (a, b):
        if arm.n < 2 or arm.sd < 0:
            msg = f"a t test needs at least 2 runs per arm and sd >= 0, got n = {arm.n}, sd = {arm.sd}."
            raise DataError(msg)
    va, vb = a.sd**2 / a.n, b.sd**2 / b.n
    if equal_variances:
        dof = float(a.n + b.n - 2)
        pooled = ((a.n - 1) * a.sd**2 + (b.n - 1) * b.sd**2) / dof
        se = float(np.sqrt(pooled * (1 / a.n + 1 / b.n)))
    else:
        spread = va**2 / (a.n - 1) + vb**2 / (b.n - 1)
        dof = (va + vb) ** 2 / spread if spread > 0 else float(a.n + b.n - 2)
        se = float(np.sqrt(va + vb))
    name = "Student t" if equal_variances else "Welch t"
    return from_t(a.mean - b.mean, se, dof, n_units=min(a.n, b.n), test=name, level=level)


def welch(a: Array, b: Array, *, level: float = 0.95) -> Evidence:
    """Return Welch's t test of two arms whose seeds are unrelated.

    Args:
        a: (n,) score per seed.
        b: (m,) score per seed.
        level: confidence level.
    """
    first, second = (Summary(float(np.mean(x)), float(np.std(x, ddof=1)), len(x)) for x in (a, b))
    return ttest_from_summary(first, second, level=level)


def paired_seeds(a: Array, b: Array, *, level: float = 0.95) -> Evidence:
    """Return the paired t test of two arms that share seeds (same splits, same head start).

    Args:
        a: (n,) score per seed.
        b: (n,) score of the other arm with the same seeds, in the same order.
        level: confidence level.
    """
    return paired_evidence(a, b, level=level)
