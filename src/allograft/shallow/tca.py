"""TCA: transfer component analysis.

Idea      Find directions in the kernel's feature space along which the domains' means agree and the samples still vary.
Paper     Pan, Tsang, Kwok, Yang. Domain adaptation via transfer component analysis. IEEE Transactions on Neural
          Networks 22(2), 2011.  doi:10.1109/TNN.2010.2091281
Formula   K H K v = lambda (K L K + mu I) v, largest lambda first;  K of all N = n_s + n_t samples, H = I - 11'/N,
          L_ij = 1/n_s^2 within the source, 1/n_t^2 within the target, -1/(n_s n_t) between;  embedding K V
Solver    scipy.linalg.eigh(A, B): both matrices are symmetric, (K L K + mu I)^-1 K H K is not. V'(K L K + mu I) V = I.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from sklearn.base import BaseEstimator

from allograft.core.errors import ConfigError
from allograft.shallow.domains import Array, samples, two_domains
from allograft.shallow.kernels import median_gamma, rbf, some

__all__ = ["TCA"]


class TCA(BaseEstimator):  # type: ignore[misc]
    """Transfer component analysis with a Gaussian kernel; both domains and new samples go through the same map.

    Args:
        components: k, directions that are kept, >= 1.
        gamma: of the kernel, > 0; None takes 1 / median squared distance of all samples.
        mu: penalty on the size of the directions, > 0.
        most: samples that the map is made from, at most; each domain gives the same share, drawn. The kernel takes
            8 most^2 bytes, the eigenvectors time as most^3.
        random_state: of the draw.

    Attributes:
        anchors_: (N, d), the samples of the source, then of the target, that the map is made from.
        vectors_: V (N, k).
        eigenvalues_: (k,), descending.
        gamma_: the kernel's.

    >>> import numpy as np
    >>> x = np.linspace(0, 1, 6)[:, None]
    >>> TCA(2, gamma=1.0).fit(x, x + 0.5).transform_target(x).shape
    (6, 2)
    """

    def __init__(
        self,
        components: int = 10,
        *,
        gamma: float | None = None,
        mu: float = 1.0,
        most: int = 2000,
        random_state: int = 0,
    ) -> None:
        self.components = components
        self.gamma = gamma
        self.mu = mu
        self.most = most
        self.random_state = random_state

    def fit(self, source: npt.ArrayLike, target: npt.ArrayLike) -> Self:
        """Find the directions.

        Args:
            source: (n_s, d).
            target: (n_t, d).

        Raises:
            ConfigError: more components than samples, or mu is not positive.
            DataError: the domains differ in width.
        """
        xs, xt = two_domains(self, source, target)
        whole = len(xs) + len(xt)
        if whole > self.most:
            xs, xt = (some(x, max(1, len(x) * self.most // whole), self.random_state) for x in (xs, xt))
        n = len(xs) + len(xt)
        if not 1 <= self.components <= n or self.mu <= 0:
            msg = f"TCA: components {self.components} of {n} samples, mu {self.mu:g}. Give 1 to {n} components, mu > 0."
            raise ConfigError(msg)
        self.anchors_: Array = np.concatenate([xs, xt])
        self.gamma_ = median_gamma(self.anchors_) if self.gamma is None else float(self.gamma)
        kernel = rbf(self.anchors_, self.anchors_, self.gamma_)
        kernel = (kernel + kernel.T) / 2
        between = np.repeat([1 / len(xs), -1 / len(xt)], [len(xs), len(xt)])  # L = between between'
        apart, spread = kernel @ between, kernel - kernel.mean(0)  # H K: centred columns
        cost = np.outer(apart, apart) + self.mu * np.eye(n)
        values, vectors = eigh(spread.T @ spread, cost, subset_by_index=[n - self.components, n - 1])
        self.eigenvalues_: Array = np.asarray(values[::-1])
        self.vectors_: Array = _signed(np.asarray(vectors[:, ::-1]))
        return self

    def transform(self, x: npt.ArrayLike) -> Array:
        """Return (n, k) of samples (n, d) of either domain, by their kernel row."""
        return np.asarray(rbf(samples(self, x), self.anchors_, self.gamma_) @ self.vectors_)

    def transform_source(self, x: npt.ArrayLike) -> Array:
        """Return (n, k) of source samples (n, d)."""
        return self.transform(x)

    def transform_target(self, x: npt.ArrayLike) -> Array:
        """Return (n, k) of target samples (n, d)."""
        return self.transform(x)


def _signed(vectors: Array) -> Array:
    """Return the vectors with the largest entry of each positive, so that two fits agree."""
    largest = np.abs(vectors).argmax(0)
    return np.asarray(vectors * np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0))
