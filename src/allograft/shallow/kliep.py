"""KLIEP: Kullback-Leibler importance estimation procedure.

Idea      Model the ratio of target to source density as a sum of kernels at target samples, and fit it by maximum
          likelihood of the target; the width is the one under which left-out target samples are likeliest.
Paper     Sugiyama, Nakajima, Kashima, von Buenau, Kawanabe. Direct importance estimation with model selection and its
          application to covariate shift adaptation. NIPS 2007.
Formula   w(x) = sum_l a_l k(x, c_l),  a >= 0;   max_a J = mean_t log w(x_t),   mean_s w(x_s) = 1
Solver    With p_l = a_l mean_s k(x_s, c_l) on the simplex this is the likelihood of a mixture: a concave problem,
          solved by constrained Newton steps (Wang. JRSS-B 2007: least squares with p >= 0). J is within
          `gap_` of its maximum.
Differs   The paper climbs the gradient. In cross-validation the centres are target samples of the fitted part only, so
          that no left-out sample has a kernel of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold

from allograft.core.errors import NumericsError
from allograft.shallow.domains import Array, samples, two_domains
from allograft.shallow.kernels import median_gamma, rbf, some

__all__ = ["KLIEP"]

TINY = 1e-300
WIDTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Candidates, as multiples of 1 / median squared distance (ours)."""


class KLIEP(BaseEstimator):  # type: ignore[misc]
    """Density ratio by maximum likelihood, with Gaussian kernels.

    Args:
        gamma: of the kernel, > 0; a sequence of candidates, or None for eight around 1 / median squared distance, lets
            cross-validation on the target choose.
        centres: target samples at which kernels stand, at most; drawn where there are more.
        folds: of the cross-validation, >= 2; fewer where the target has fewer samples.
        tol: the solver ends when J is proven to be within `tol` of its maximum.
        max_iter: Newton steps at most.
        random_state: of the draw of centres and folds.

    Attributes:
        weights_: (n_s,), >= 0, of mean 1.
        gamma_: the kernel's.
        objective_: J.
        gap_: bound on its distance to the maximum.
        scores_: mean log ratio of left-out target samples by candidate; empty where gamma was given.
        centres_: (c, d).
        alpha_: (c,).

    >>> import numpy as np
    >>> x = np.linspace(0, 1, 20)[:, None]
    >>> KLIEP(gamma=1.0).fit(x, x).weights_.mean().round(6)
    np.float64(1.0)
    """

    def __init__(
        self,
        gamma: float | Sequence[float] | None = None,
        *,
        centres: int = 100,
        folds: int = 5,
        tol: float = 1e-9,
        max_iter: int = 200,
        random_state: int = 0,
    ) -> None:
        self.gamma = gamma
        self.centres = centres
        self.folds = folds
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, source: npt.ArrayLike, target: npt.ArrayLike) -> Self:
        """Choose the width, fit the ratio, and weigh the source samples.

        Args:
            source: (n_s, d).
            target: (n_t, d), n_t >= 2 where the width is chosen.

        Raises:
            NumericsError: under every width a sample has no kernel near it.
            DataError: the domains differ in width.
        """
        given = float(self.gamma) if isinstance(self.gamma, int | float) else None
        xs, xt = two_domains(self, source, target, least=1 if given else 2)
        self.scores_: dict[float, float] = {}
        if given is None:
            self.scores_ = {each: self._left_out(xs, xt, each) for each in self._candidates(xs, xt)}
            if not np.isfinite(max(self.scores_.values())):
                msg = f"KLIEP: no width among {list(self.scores_)} reaches all samples. Give smaller gamma."
                raise NumericsError(msg)
        self.gamma_ = max(self.scores_, key=lambda each: self.scores_[each]) if given is None else given
        self.centres_ = some(xt, self.centres, self.random_state)
        self.alpha_, self.objective_, self.gap_ = self._fit(xs, xt, self.centres_, self.gamma_, self.tol)
        self.weights_: Array = self.ratio(xs)
        return self

    def ratio(self, x: npt.ArrayLike) -> Array:
        """Return w(x) (n,), >= 0, of samples (n, d)."""
        return np.asarray(rbf(samples(self, x), self.centres_, self.gamma_) @ self.alpha_)

    def _candidates(self, xs: Array, xt: Array) -> tuple[float, ...]:
        if isinstance(self.gamma, Sequence):
            return tuple(float(each) for each in self.gamma)
        middle = median_gamma(np.concatenate([xs, xt]))
        return tuple(middle * factor for factor in WIDTHS)

    def _left_out(self, xs: Array, xt: Array, gamma: float) -> float:
        """Return the mean log ratio of target samples that were left out of the fit."""
        found = []
        parts = KFold(min(self.folds, len(xt)), shuffle=True, random_state=self.random_state)
        for kept, out in parts.split(xt):
            centres = some(xt[kept], self.centres, self.random_state)
            try:
                alpha, _, _ = self._fit(xs, xt[kept], centres, gamma, 1e-4)
            except NumericsError:
                return -np.inf
            found.append(np.log(np.maximum(rbf(xt[out], centres, gamma) @ alpha, TINY)))
        return float(np.concatenate(found).mean())

    def _fit(self, xs: Array, xt: Array, centres: Array, gamma: float, tol: float) -> tuple[Array, float, float]:
        """Return alpha, J and the gap."""
        means = rbf(xs, centres, gamma).mean(0)
        near = rbf(xt, centres, gamma)
        used = means > TINY
        table = near[:, used] / means[used]
        if not used.any() or (table.sum(1) <= TINY).any():
            msg = f"KLIEP: with gamma {gamma:g} a sample has no kernel near it. Use a smaller gamma, or more centres."
            raise NumericsError(msg)
        share, gap = _mixture(table, tol, self.max_iter)
        alpha = np.zeros(len(centres))
        alpha[used] = share / means[used]
        return alpha, float(np.log(table @ share).mean()), gap


def _mixture(table: Array, tol: float, most: int) -> tuple[Array, float]:
    """Return shares p on the simplex that maximise mean_t log sum_l p_l table_tl, and a bound on what is missing."""
    count = table.shape[1]
    p, gap = np.full(count, 1 / count), np.inf
    for _ in range(most):
        mixed = table @ p
        relative = table / mixed[:, None]
        gap = float(relative.mean(0).max() - 1)  # concave: no point of the simplex is higher by more
        if gap <= tol:
            break
        aim = _newton(relative)
        p = _climb(table, p, aim, mixed)
    return p, max(0.0, gap)


def _newton(relative: Array) -> Array:
    """Return the maximum over the simplex of the quadratic model at the present point."""
    rows = np.linalg.qr(relative - 2, mode="r") if len(relative) > relative.shape[1] else relative - 2
    system = np.vstack([rows / np.sqrt(len(relative)), np.ones(relative.shape[1])])
    aim = nnls(system, np.append(np.zeros(len(rows)), 1.0))[0]
    total = aim.sum()
    return np.asarray(aim / total) if total > 0 else np.full(len(aim), 1 / len(aim))


def _climb(table: Array, p: Array, aim: Array, mixed: Array) -> Array:
    """Return the first point on the way to `aim`, halving it, that is higher; else one step of the EM algorithm."""
    before, ahead, share = np.log(mixed).mean(), table @ aim, 1.0
    rise = float(((ahead - mixed) / mixed).mean())
    while share > 1e-6 and rise > 0:
        with np.errstate(divide="ignore"):
            after = np.log((1 - share) * mixed + share * ahead).mean()
        if after >= before + 1e-4 * share * rise:
            return np.asarray((1 - share) * p + share * aim)
        share /= 2
    return np.asarray(p * (table / mixed[:, None]).mean(0))
