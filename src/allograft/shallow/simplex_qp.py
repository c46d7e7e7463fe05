"""Minimisation over the simplex {w >= 0, sum w = 1}: quadratic problems exactly, convex ones by Newton steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["newton_on_simplex", "simplex_qp"]

Array = npt.NDArray[np.float64]
Smooth = Callable[[Array], tuple[float, Array, Array]]
"""From w (M,) to value, gradient (M,) and Hessian (M, M)."""

RIDGE = 1e-12
"""Share of the mean curvature that is added, so that of equal columns each gets an equal part."""


def simplex_qp(matrix: Array, linear: Array) -> Array:
    """Return the w on the simplex that minimises w'Aw / 2 - b'w.

    Active sets: the support grows by the column whose gradient is lowest and shrinks where a weight would turn
    negative; every support is seen once, so it ends.

    Args:
        matrix: (M, M), symmetric and positive semi-definite.
        linear: (M,).

    >>> simplex_qp(np.eye(2), np.array([1.0, 0.5])).tolist()
    [0.75, 0.25]
    """
    size = len(linear)
    a = (matrix + matrix.T) / 2 + RIDGE * max(np.trace(matrix) / size, 1e-300) * np.eye(size)
    slack = 1e-11 * max(1e-300, float(np.abs(a).max() + np.abs(linear).max()))
    w = np.zeros(size)
    w[int(np.argmin(np.diag(a) / 2 - linear))] = 1.0
    for _ in range(50 * size):
        support, gradient = w > 0, a @ w - linear
        best = int(np.argmin(np.where(support, np.inf, gradient)))
        if support.all() or gradient[best] >= float(w @ gradient) - slack:
            break
        support[best] = True
        w = _on_support(a, linear, w, support)
    return np.asarray(w / w.sum())


def _on_support(a: Array, b: Array, w: Array, support: npt.NDArray[np.bool_]) -> Array:
    """Return the minimum over the weights of a support; those that would be negative leave it."""
    while True:
        index = np.flatnonzero(support)
        count = len(index)
        system = np.ones((count + 1, count + 1))
        system[:count, :count], system[count, count] = a[np.ix_(index, index)], 0
        wanted = np.linalg.lstsq(system, np.append(b[index], 1.0), rcond=None)[0][:count]
        if wanted.min() > 0:
            out = np.zeros_like(w)
            out[index] = wanted
            return out
        step = wanted - w[index]
        falling = step < 0
        ratio = np.full(count, np.inf)
        ratio[falling] = -w[index][falling] / step[falling]
        first = int(np.argmin(ratio))
        w = w.copy()
        w[index] = np.maximum(w[index] + min(1.0, float(ratio[first])) * step, 0)
        w[index[first]] = 0
        support = support.copy()
        support[index[first]] = False


def newton_on_simplex(
    smooth: Smooth, size: int, *, start: Array | None = None, rounds: int = 100
) -> tuple[Array, float]:
    """Return the minimum of a smooth convex function on the simplex, and its value.

    Each round solves the quadratic model on the simplex exactly and goes towards it as far as the value falls.

    Args:
        smooth: value, gradient and Hessian at w; an infinite value is never stepped to.
        size: M.
        start: where to begin, with a finite value; None for equal weights.
        rounds: at most.
    """
    w = np.full(size, 1 / size) if start is None else start / start.sum()
    value, gradient, hessian = smooth(w)
    for _ in range(rounds):
        target = simplex_qp(hessian, hessian @ w - gradient)
        step = target - w
        slope = float(gradient @ step)
        if slope >= -1e-15 * max(1.0, abs(value)):
            break
        length, found = 1.0, smooth(target)
        while not found[0] <= value + 1e-4 * length * slope and length > 1e-12:
            length /= 2
            found = smooth(w + length * step)
        if not found[0] < value:
            break
        w, (value, gradient, hessian) = w + length * step, found
    return w, value
