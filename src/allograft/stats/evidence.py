"""Evidence: what one test found about one difference, before anybody judges it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from allograft.stats.bootstrap import Replicates
from allograft.stats.intervals import SMALL, no_spread_half

__all__ = ["Evidence", "from_replicates", "from_t"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A difference with the interval and the p value of one and the same test.

    Args:
        difference: arm a minus arm b, in the metric's own units and direction.
        ci: interval at `level`; leaves out 0 exactly where p < 1 - level.
        ci_equivalence: interval at 2 level - 1 (90 % for 95 %), for two one-sided tests.
        p: two-sided p value, NaN where no test is possible.
        test: name of the test that `ci` and `p` come from.
        n_units: independent units.
        se: standard error of the difference.
        level: confidence level in (0.5, 1).
        also: p values of further tests, by name; shown, never used in the verdict.
        note: why there is no p value, or what else must be said.
    """

    difference: float
    ci: tuple[float, float]
    ci_equivalence: tuple[float, float]
    p: float
    test: str
    n_units: int
    se: float
    level: float = 0.95
    also: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def sd(self) -> float:
        """Standard deviation of the difference from unit to unit that `se` stands for."""
        return self.se * float(np.sqrt(self.n_units))


def from_t(difference: float, se: float, dof: float, *, n_units: int, test: str, level: float = 0.95) -> Evidence:
    """Return the evidence of a t statistic; `dof` infinity gives the normal law.

    Where the standard error is 0, no t exists: p is 1 for no difference and NaN for one, and the
    interval is that of `no_spread_half`.
    """
    usable = np.isfinite(se) and np.isfinite(difference) and dof > 0
    if not usable:
        nan = (float("nan"), float("nan"))
        note = "the metric is undefined on these units, or without one of them"
        return Evidence(
            difference=difference, ci=nan, ci_equivalence=nan, p=float("nan"), test=test, n_units=n_units, se=se,
            level=level, note=note,
        )  # fmt: skip
    wide, narrow = (_half(se, dof, n_units, share) for share in (level, 2 * level - 1))
    without_error = 1.0 if difference == 0 else float("nan")
    p = 2 * _below(-abs(difference) / se, dof) if se > 0 else without_error
    return Evidence(
        difference=difference,
        ci=(difference - wide, difference + wide),
        ci_equivalence=(difference - narrow, difference + narrow),
        p=p,
        test=test,
        n_units=n_units,
        se=se,
        level=level,
        note="" if se > 0 else "no unit changes the difference, so its standard error cannot be estimated",
    )


def from_replicates(replicates: Replicates, *, level: float = 0.95) -> Evidence:
    """Return the evidence on a difference of set-level metrics, resampled over units.

    Below 40 units: the observed difference ± t times the jackknife's standard error; from there
    on the BCa bootstrap. With few units the bootstrap alone claims too much, and where no unit
    changes the value it has nothing to draw from.
    """
    n = len(replicates.jackknife)
    se = replicates.jackknife_error()
    if n < SMALL or se == 0:
        return from_t(replicates.observed, se, n - 1, n_units=n, test="jackknife t", level=level)
    note = ""
    if not replicates.has_interval:
        note = f"the metric is undefined on {replicates.undefined} of the resampled sets"
    return Evidence(
        difference=replicates.observed,
        ci=replicates.interval(level),
        ci_equivalence=replicates.interval(2 * level - 1),
        p=replicates.p_value(),
        test="BCa bootstrap",
        n_units=n,
        se=se,
        level=level,
        note=note,
    )


def _half(se: float, dof: float, n_units: int, level: float) -> float:
    """Return half the width of the interval."""
    if se == 0:
        return no_spread_half(n_units, level)
    share = (1 + level) / 2
    return float(special.ndtri(share) if np.isinf(dof) else special.stdtrit(dof, share)) * se


def _below(t: float, dof: float) -> float:
    """Return the chance of a t statistic below `t`."""
    return float(special.ndtr(t) if np.isinf(dof) else special.stdtr(dof, t))
