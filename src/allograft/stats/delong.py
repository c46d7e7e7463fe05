"""DeLong's test: two correlated AUROCs on the same independent cases.

Idea      AUROC is a two-sample U statistic; its variance follows from each case's placement among
          the cases of the other class.
Paper     DeLong, DeLong, Clarke-Pearson, Biometrics 44(3), 1988, doi 10.2307/2531595
Formula   V10_i = mean_j psi(x_i, y_j),  V01_j = mean_i psi(x_i, y_j);  S = S10 / m + S01 / n
Differs   Placements come from sorted scores (same numbers, n log n instead of n squared).
Checked   tests/unit/stats/test_delong.py: worked values; placements by double loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from allograft.core.errors import DataError
from allograft.stats.evidence import Evidence, from_t
from allograft.stats.intervals import no_spread_half

__all__ = ["DeLong", "delong", "delong_evidence", "rank_auroc"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DeLong:
    """AUROCs of K models on the same cases.

    Args:
        auroc: (K,).
        covariance: (K, K) of the estimates.
        n: cases.
        smaller_class: cases of the rarer class.
    """

    auroc: Array
    covariance: Array
    n: int
    smaller_class: int

    def interval(self, k: int = 0, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of one AUROC, made on the logit scale so that it stays inside (0, 1).

        Where the AUROC is 0 or 1 its variance estimate is 0 and would claim certainty; there the rule
        of three over the smaller class is used (ours).
        """
        value, variance = float(self.auroc[k]), float(self.covariance[k, k])
        if not (0 < value < 1 and variance > 0):
            half = no_spread_half(self.smaller_class, level)
            return max(0.0, value - half), min(1.0, value + half)
        half = float(special.ndtri((1 + level) / 2)) * np.sqrt(variance) / (value * (1 - value))
        centre = np.log(value / (1 - value))
        return float(1 / (1 + np.exp(half - centre))), float(1 / (1 + np.exp(-half - centre)))


def rank_auroc(truth: npt.NDArray[np.bool_], score: Array) -> float:
    """Return the chance that a positive case scores above a negative one, ties counted half.

    Args:
        truth: (N,) bool.
        score: (N,) finite.

    Returns:
        A value in [0, 1]; NaN where a class is missing.
    """
    positives = int(truth.sum())
    if positives in {0, len(truth)}:
        return float("nan")
    return float(_placed(score[truth], score[~truth]).mean())


def delong(truth: npt.ArrayLike, scores: npt.ArrayLike, groups: Sequence[str]) -> DeLong:
    """Return the AUROCs of K models and their covariance.

    Args:
        truth: (N,) 0/1, at least two of each.
        scores: (K, N), or (N,) for one model.
        groups: N independent units; each may occur once only.

    Raises:
        DataError: a unit repeats, shapes differ, a score is not finite, or a class has fewer
            than two cases.
    """
    positive = np.asarray(truth).astype(bool)
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    _check(positive, table, groups)
    m, n = int(positive.sum()), int((~positive).sum())
    placed_positive = np.stack([_placed(row[positive], row[~positive]) for row in table])
    placed_negative = 1 - np.stack([_placed(row[~positive], row[positive]) for row in table])
    covariance = np.cov(placed_positive) / m + np.cov(placed_negative) / n
    return DeLong(
        auroc=placed_positive.mean(axis=1), covariance=np.atleast_2d(covariance), n=m + n, smaller_class=min(m, n)
    )


def delong_evidence(found: DeLong, i: int = 0, j: int = 1, *, level: float = 0.95) -> Evidence:
    """Return the evidence on AUROC i minus AUROC j (normal law)."""
    difference = float(found.auroc[i] - found.auroc[j])
    c = found.covariance
    # Rounding can leave a tiny negative variance for identical models.
    variance = max(0.0, float(c[i, i] + c[j, j] - 2 * c[i, j]))
    se = 0.0 if variance < 1e-18 else float(np.sqrt(variance))
    return from_t(difference, se, float("inf"), n_units=found.n, test="DeLong", level=level)


def _placed(ours: Array, others: Array) -> Array:
    """Return for each of (m,) values the share of the others that lie below it, ties counted half."""
    ranked = np.sort(others)
    below = np.searchsorted(ranked, ours, "left") + np.searchsorted(ranked, ours, "right")
    return below / (2.0 * len(others))


def _check(positive: npt.NDArray[np.bool_], table: Array, groups: Sequence[str]) -> None:
    if positive.ndim != 1 or table.shape[1:] != positive.shape or len(groups) != len(positive):
        msg = f"DeLong needs one truth, score and unit per case: {positive.shape}, {table.shape}, {len(groups)} units."
        raise DataError(msg)
    if not np.isfinite(table).all():
        msg = "DeLong: a score is not finite. Look at the predictions."
        raise DataError(msg)
    name, count = Counter(groups).most_common(1)[0] if groups else ("", 0)
    if count > 1:
        msg = (
            f"DeLong takes one prediction per independent unit, but unit {name!r} has {count} "
            f"({len(groups)} predictions of {len(set(groups))} units). Its cases are not independent; "
            "use bootstrap_difference over units instead."
        )
        raise DataError(msg)
    if min(positive.sum(), (~positive).sum()) < 2:
        msg = f"DeLong needs two cases of each class, got {positive.sum()} positive and {(~positive).sum()} negative."
        raise DataError(msg)
