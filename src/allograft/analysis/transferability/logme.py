"""LogME: how probable the labels are under a linear model of the features, all weights integrated out.

Idea      A linear model with a Gaussian prior is not fitted but averaged over: the evidence rewards
          features that explain the labels and punishes having to strain for it.
Paper     You, Liu, Wang, Long, ICML 2021, arXiv:2102.11005
Formula   t ~ N(0, I / beta + F F^T / alpha), alpha and beta chosen to make t most probable; the score is
          ln p(t) / N, averaged over classes (t one-hot) or outputs.
Defaults  the ratio alpha / beta lies within 1e-12 and 1e12 of the largest squared singular value (ours).
Differs   1. The released code's default mode leaves out (D - k) ln alpha, k being the number of singular values,
          which is wrong where D > N. Here D ln alpha is taken together with the determinant, so that only
          1/2 sum ln(1 + beta s^2 / alpha) is left and D does not enter at all.
          2. For a given ratio the best beta has a closed form, so the maximum is sought along the ratio alone, on a
          grid and then to rounding, instead of by the fixed point, which is stopped after 11 rounds there.
          3. Labels that the features say nothing of drive alpha to infinity: the ratio is capped.
Checked   tests/unit/analysis/test_transferability.py: worked values; scipy's Gaussian log-density with D > N;
          the formula without the term fails the same test.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from allograft.analysis.transferability.labelled import Array, features_of, labelled, one_hot
from allograft.core.errors import DataError
from allograft.core.reference import Reference

__all__ = ["PAPER", "Evidence", "logme", "logme_of_targets"]

PAPER = Reference(
    title="LogME: Practical Assessment of Pre-trained Models for Transfer Learning",
    authors=("You", "Liu", "Wang", "Long"),
    year=2021,
    venue="ICML",
    arxiv="2102.11005",
)

REACH, GRID = np.log(1e12), 97


class Evidence(NamedTuple):
    """The evidence of one target.

    Args:
        value: ln p(t) / N.
        alpha: precision of the weights' prior, > 0.
        beta: precision of the noise, > 0.
    """

    value: float
    alpha: float
    beta: float


def logme(features: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean evidence of the classes; larger promises more.

    Args:
        features: (N, D).
        labels: (N,) classes.

    Raises:
        DataError: shapes do not fit, values are not finite, or there is one class only.
    """
    found, numbers = labelled(features, labels)
    return float(np.mean([one.value for one in logme_of_targets(found, one_hot(numbers))]))


def logme_of_targets(features: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Evidence, ...]:
    """Return the evidence of each column of targets: classes one-hot, several labels, or measured values.

    Args:
        features: (N, D).
        targets: (N, K), no column all 0.

    Raises:
        DataError: shapes do not fit, or a column is 0 throughout.
    """
    found, values = features_of(features), np.asarray(targets, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(found) or not np.isfinite(values).all():
        msg = f"LogME: expected finite targets ({len(found)}, K), got shape {values.shape}."
        raise DataError(msg)
    if not values.any(axis=0).all():
        msg = "LogME: a target is 0 for every case, so that nothing is to be explained. Leave it out."
        raise DataError(msg)
    u, s, _ = np.linalg.svd(found, full_matrices=False)
    return tuple(_best((u.T @ t) ** 2, s**2, float(t @ t), len(t)) for t in values.T)


def _best(along: Array, variance: Array, total: float, n: int) -> Evidence:
    """Return the largest evidence over the ratio lam = alpha / beta.

    Args:
        along: squared projections (k,) of the target on the left singular vectors.
        variance: squared singular values (k,).
        total: squared norm of the target.
        n: number of cases.
    """
    outside = max(total - float(along.sum()), 0.0)
    top = np.log(variance[0]) if variance[0] > 0 else 0.0

    def loss(log_lam: float) -> float:
        return -_evidence(log_lam, along, variance, outside, n)[0]

    grid = np.linspace(top - REACH, top + REACH, GRID)
    at = int(np.argmin([loss(each) for each in grid]))
    low, high = grid[max(0, at - 1)], grid[min(GRID - 1, at + 1)]
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-9, "maxiter": 200})
    log_lam = float(found.x) if found.fun <= loss(grid[at]) else float(grid[at])
    value, beta = _evidence(log_lam, along, variance, outside, n)
    return Evidence(value / n, float(np.exp(log_lam)) * beta, beta)


def _evidence(log_lam: float, along: Array, variance: Array, outside: float, n: int) -> tuple[float, float]:
    """Return the evidence of a target and the beta that makes it largest."""
    lam = np.exp(log_lam)
    misfit = float((along * (lam / (lam + variance))).sum()) + outside  # t^T (I + F F^T / lam)^-1 t
    beta = n / max(misfit, 1e-300)
    determinant = float(np.log1p(variance / lam).sum())
    return 0.5 * (n * np.log(beta / (2 * np.pi)) - determinant - n), beta
