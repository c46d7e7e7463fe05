"""KMM: kernel mean matching.

Idea      Weigh the source samples so that their mean in the kernel's feature space is that of the target.
Paper     Huang, Gretton, Borgwardt, Schoelkopf, Smola. Correcting sample selection bias by unlabeled data. NIPS 2006.
Formula   min_w 1/2 w'K w - kappa'w,   0 <= w_i <= B,   |sum w - n_s| <= n_s eps;
          K = k(x_s, x_s),   kappa_i = n_s/n_t sum_j k(x_s_i, x_t_j)
Solver    Accelerated projected gradient with restarts. The projection is exact (a shift found by bisection and a clip),
          and so is the certificate: the objective exceeds its minimum by at most `gap_`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from allograft.core.errors import ConfigError
from allograft.shallow.domains import Array, two_domains
from allograft.shallow.feature_map import MixedKernel, draw_map
from allograft.shallow.kernels import median_gamma, rbf

__all__ = ["KMM"]

Product = Callable[[Array], Array]
MEGABYTE = 2**20


class KMM(BaseEstimator):  # type: ignore[misc]
    """Kernel mean matching with a Gaussian kernel.

    Args:
        gamma: of the kernel, > 0; None takes 1 / median squared distance of all samples.
        bound: B, largest weight, > 0.
        epsilon: how far the mean weight may be from 1, >= 0; None takes (sqrt(n_s) - 1) / sqrt(n_s).
        memory: megabytes that the kernel of the source may take. A larger one is not held: its blocks are computed
            anew in every step, which gives the same weights and takes many times as long.
        features: D >= 2 replaces the kernel by D random Fourier features, whose memory and time grow with n_s D: the
            quick way with many samples. Their error is stated.
        tol: the solver ends when the squared distance of the kernel means, weights summing to n_s, is proven to be
            within `tol` of the least possible; the objective is n_s^2 / 2 times that, up to a constant.
        max_iter: steps at most; a ConvergenceWarning says what gap is left.
        random_state: of the random features.

    Attributes:
        weights_: (n_s,), in [0, B].
        gamma_: the kernel's.
        objective_: what was minimised, at the weights.
        gap_: bound on its distance to the minimum.
        kernel_error_: with random features, the largest error of a kernel value over 200 pairs of samples; else 0.
        n_iter_: steps taken.

    >>> import numpy as np
    >>> x = np.arange(8.0)[:, None]
    >>> KMM(gamma=1.0, epsilon=0.0).fit(x, x).weights_.round(3)
    array([1., 1., 1., 1., 1., 1., 1., 1.])
    """

    def __init__(  # noqa: PLR0913 - one for each setting of the estimator, as scikit-learn wants them
        self,
        gamma: float | None = None,
        *,
        bound: float = 1000.0,
        epsilon: float | None = None,
        memory: float = 512.0,
        features: int = 0,
        tol: float = 1e-5,
        max_iter: int = 20_000,
        random_state: int = 0,
    ) -> None:
        self.gamma = gamma
        self.bound = bound
        self.epsilon = epsilon
        self.memory = memory
        self.features = features
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, source: npt.ArrayLike, target: npt.ArrayLike) -> Self:
        """Find the weights of the source samples.

        Args:
            source: (n_s, d).
            target: (n_t, d).

        Raises:
            ConfigError: the bound is too small for weights of mean 1 - epsilon.
            DataError: the domains differ in width.
        """
        xs, xt = two_domains(self, source, target)
        n = len(xs)
        epsilon = (np.sqrt(n) - 1) / np.sqrt(n) if self.epsilon is None else self.epsilon
        band = (n * max(0.0, 1 - epsilon), n * (1 + epsilon))
        if self.bound * n < band[0]:
            msg = (
                f"KMM: weights of at most {self.bound:g} cannot have a mean of {band[0] / n:g}. Raise bound or epsilon."
            )
            raise ConfigError(msg)
        self.gamma_ = median_gamma(np.concatenate([xs, xt])) if self.gamma is None else float(self.gamma)
        times, kappa = self._kernel(xs, xt)
        enough = self.tol * n**2 / 2
        w, self.gap_, self.n_iter_ = _solve(times, kappa, (self.bound, *band), enough, self.max_iter)
        self.weights_: Array = w
        self.objective_ = float(0.5 * w @ times(w) - kappa @ w)
        if self.gap_ > enough:
            msg = f"KMM: after {self.n_iter_} steps the objective may be {self.gap_:.2g} above its minimum"
            warnings.warn(msg, ConvergenceWarning, stacklevel=2)
        return self

    def _kernel(self, xs: Array, xt: Array) -> tuple[Product, Array]:
        """Return the product of K with a vector, and kappa, within the memory that is allowed."""
        self.kernel_error_, ratio = 0.0, len(xs) / len(xt)
        if self.features:
            rng, gaussian = np.random.default_rng(self.random_state), MixedKernel.gaussian(self.gamma_, xs.shape[1])
            draw = draw_map("fourier", gaussian, xs, self.features, rng)
            phi, near, far = draw(xs), xs[:200], xt[:200]
            sums = sum(draw(part).sum(0) for part in _parts(xt, self._rows(self.features)))
            self.kernel_error_ = float(np.abs(draw(near) @ draw(far).T - rbf(near, far, self.gamma_)).max())
            return (lambda v: phi @ (phi.T @ v)), ratio * phi @ sums
        kappa = ratio * sum(rbf(xs, part, self.gamma_).sum(1) for part in _parts(xt, self._rows(len(xs))))
        if len(xs) ** 2 * 8 <= self.memory * MEGABYTE:
            kernel = rbf(xs, xs, self.gamma_)
            return (lambda v: kernel @ v), np.asarray(kappa)
        rows = self._rows(len(xs))
        return (lambda v: np.concatenate([rbf(p, xs, self.gamma_) @ v for p in _parts(xs, rows)])), np.asarray(kappa)

    def _rows(self, width: int) -> int:
        """Return how many rows of this width fit into the memory; a kernel's rows are held twice while it is made."""
        return max(1, int(self.memory * MEGABYTE / (16 * width)))


def _parts(x: Array, rows: int) -> list[Array]:
    return [x[i : i + rows] for i in range(0, len(x), rows)]


def _solve(
    times: Product, kappa: Array, box: tuple[float, float, float], enough: float, most: int
) -> tuple[Array, float, int]:
    """Minimise 1/2 w'Kw - kappa'w over the box; return the weights, the gap and the steps."""
    step = 1 / _largest(times, len(kappa))
    w = best = ahead = _project(np.ones(len(kappa)), box)
    last = at_ahead = times(w) - kappa
    speed, gap = 1.0, np.inf
    for number in range(1, most + 1):
        new = _project(ahead - step * at_ahead, box)
        gradient = times(new) - kappa
        found = float(gradient @ new) - _least(gradient, box)
        if found < gap:
            best, gap = new, found
        if gap <= enough:
            return best, gap, number
        if (ahead - new) @ (new - w) > 0:  # momentum points uphill
            speed = 1.0
        faster = (1 + np.sqrt(1 + 4 * speed**2)) / 2
        share = (speed - 1) / faster
        ahead, at_ahead = new + share * (new - w), gradient + share * (gradient - last)  # K is linear: one product
        w, last, speed = new, gradient, faster
    return best, gap, most


def _largest(times: Product, n: int) -> float:
    """Return a little more than the largest eigenvalue, by power iteration."""
    v, size = np.ones(n), 1.0
    for _ in range(50):
        v = times(v / np.linalg.norm(v))
        size = float(np.linalg.norm(v))
    return 1.02 * size


def _project(v: Array, box: tuple[float, float, float]) -> Array:
    """Return the nearest point with 0 <= w <= B and low <= sum w <= high."""
    bound, low, high = box
    w = np.clip(v, 0, bound)
    total = w.sum()
    if low <= total <= high:
        return np.asarray(w)
    wanted = low if total < low else high
    left, right, shift = float(v.min()) - bound, float(v.max()), 0.0
    for _ in range(100):  # Newton steps on a piecewise linear function, kept inside the bracket
        w = np.clip(v - shift, 0, bound)
        excess = float(w.sum()) - wanted
        if abs(excess) <= 1e-12 * max(1.0, wanted):
            break
        left, right = (shift, right) if excess > 0 else (left, shift)
        free = np.count_nonzero((w > 0) & (w < bound))
        shift = shift + excess / free if free else (left + right) / 2
        shift = shift if left < shift < right else (left + right) / 2
    return np.asarray(w)


def _least(gradient: Array, box: tuple[float, float, float]) -> float:
    """Return the least g'v over the box: as much weight as is allowed where the gradient is lowest."""
    bound, low, high = box
    g = np.sort(gradient)
    full = np.clip(np.minimum(high, bound * len(g)) - bound * np.arange(len(g)), 0, bound)
    forced = np.clip(low - bound * np.arange(len(g)), 0, bound)
    return float(np.where(g < 0, full, forced) @ g)
