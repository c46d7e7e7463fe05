"""Feature maps: a Gaussian kernel, or a sum of several, as inner products of finite features.

kernel     k(x, y) = sum_d theta_d exp(-sum_f rates_df (x_f - y_f)^2)
exact      features are k(x, a) for all training points a; no approximation
nystroem   z(x) = k(x, A) k(A, A)^(-1/2) for drawn anchors A (Williams, Seeger. NIPS 2000)
fourier    z(x) = sqrt(theta_d / m) (cos W x, sin W x), W ~ N(0, 2 rates_d) (Rahimi, Recht. NIPS 2007)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["FeatureMap", "KernelMap", "MixedKernel", "draw_map"]

Array = npt.NDArray[np.float64]
KernelMap = Literal["exact", "nystroem", "fourier"]

EXPONENTS = 1 << 22
"""Numbers of a kernel block made at a time (32 MB)."""


@dataclass(frozen=True)
class MixedKernel:
    """A sum of Gaussian kernels.

    Args:
        theta: (K,) weights >= 0.
        rates: (K, F) what each feature's squared difference is multiplied by, >= 0; 0 leaves a feature out.
    """

    theta: Array
    rates: Array

    @classmethod
    def gaussian(cls, gamma: float, features: int) -> MixedKernel:
        """Return exp(-gamma |x - y|^2)."""
        return cls(np.ones(1), np.full((1, features), float(gamma)))

    def parts(self, a: Array, b: Array) -> Array:
        """Return (K, n, m), each single kernel between the rows of (n, F) and (m, F), without its theta."""
        return np.stack([_gaussian(a * np.sqrt(rate), b * np.sqrt(rate)) for rate in self.rates])

    def __call__(self, a: Array, b: Array) -> Array:
        """Return (n, m), the kernel between the rows of (n, F) and (m, F)."""
        out = np.zeros((len(a), len(b)))
        for theta, rate in zip(self.theta, self.rates, strict=True):
            if theta > 0:
                out += theta * _gaussian(a * np.sqrt(rate), b * np.sqrt(rate))
        return out

    @property
    def at_zero(self) -> float:
        """k(x, x)."""
        return float(self.theta.sum())


@dataclass(frozen=True)
class FeatureMap:
    """A kernel's features.

    Args:
        kind: which map.
        kernel: the kernel.
        points: (A, F) anchors, of "fourier" frequencies.
        mix: what kernel values of anchors are multiplied by, (A, D), of "fourier" the amplitudes (A,); None for none.
    """

    kind: KernelMap
    kernel: MixedKernel
    points: Array
    mix: Array | None = None

    def __call__(self, x: Array) -> Array:
        """Return features (n, D) of (n, F)."""
        if self.kind != "fourier":
            found = self.kernel(x, self.points)
            return found if self.mix is None else found @ self.mix
        assert self.mix is not None, "amplitudes were drawn with the frequencies"
        angle = x @ self.points.T
        return np.concatenate([np.cos(angle) * self.mix, np.sin(angle) * self.mix], axis=1)


def draw_map(kind: KernelMap, kernel: MixedKernel, x: Array, components: int, rng: np.random.Generator) -> FeatureMap:
    """Return a map of the kernel.

    Args:
        kind: which.
        kernel: what is mapped.
        x: (n, F) training points; anchors are drawn from them, each equally likely.
        components: features D of an approximation; of "fourier" rounded down to pairs, of "nystroem" at most n.
        rng: draws anchors or frequencies.
    """
    if kind == "exact":
        return FeatureMap(kind, kernel, x)
    if kind == "nystroem":
        anchors = x[np.sort(rng.permutation(len(x))[:components])]
        values, vectors = np.linalg.eigh(kernel(anchors, anchors))
        kept = values > 1e-10 * values[-1]
        return FeatureMap(kind, kernel, anchors, vectors[:, kept] / np.sqrt(values[kept]))
    each = _shares(kernel.theta, max(1, components // 2))
    normal = rng.standard_normal((int(each.sum()), x.shape[1]))
    spread = np.repeat(np.sqrt(2 * kernel.rates), each, axis=0)
    amplitude = np.repeat(np.sqrt(kernel.theta / np.maximum(each, 1)), each)
    return FeatureMap(kind, kernel, normal * spread, amplitude)


def _shares(theta: Array, pairs: int) -> npt.NDArray[np.int64]:
    """Return how many frequencies each kernel gets: equally many of those that count, the first ones what is over."""
    used = np.flatnonzero(theta > 0)
    each = np.zeros(len(theta), dtype=np.int64)
    each[used] = max(1, pairs // len(used))
    each[used[: max(0, pairs - int(each.sum()))]] += 1
    return each


def _gaussian(a: Array, b: Array) -> Array:
    """Return exp(-|a - b|^2), block by block."""
    out = np.empty((len(a), len(b)))
    square = (b**2).sum(axis=1)
    rows = max(1, EXPONENTS // max(1, len(b)))
    for first in range(0, len(a), rows):
        block: Any = out[first : first + rows]
        part = a[first : first + rows]
        np.matmul(part, b.T, out=block)
        block *= -2
        block += square
        block += (part**2).sum(axis=1)[:, None]
        np.maximum(block, 0, out=block)
        np.exp(-block, out=block)
    return out
