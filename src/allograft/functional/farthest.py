"""Farthest: greedy choice of the points that lie farthest from all that were chosen before; plain numpy."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Distance", "Rule", "farthest"]

Rule = Literal["mean", "centroid", "min"]
"""From a point to a set: mean of the distances, distance to the set's mean, or distance to its nearest member."""
Distance = Literal["euclidean", "cosine"]

Array = npt.NDArray[Any]


def farthest(
    points: Array, known: Array, count: int, *, rule: Rule = "mean", distance: Distance = "euclidean"
) -> list[int]:
    """Return the indices of `count` points, each the farthest from `known` and the points taken before it.

    Args:
        points: (N, F) to choose from.
        known: (M, F) that are there already; where M = 0 the first point begins.
        count: how many, at most N.
        rule: distance from a point to a set.
        distance: between two points; "cosine" is 1 - cosine.

    Returns:
        Indices in order of choice; of equally far points the smallest index; none twice.

    >>> farthest(np.array([[0.0, 3.0], [3.2, 0.0]]), np.array([[-5.0, 0.0], [5.0, 0.0]]), 1)
    [0]
    """
    free, taken = _scaled(points, distance), list[int]()
    state = _Set(free, _scaled(known, distance), rule, distance)
    left = np.ones(len(free), dtype=bool)
    for _ in range(min(count, len(free))):
        best = int(np.where(left, state.distances(), -np.inf).argmax())
        taken.append(best)
        left[best] = False
        state.add(free[best])
    return taken


class _Set:
    """The chosen points, as far as a rule needs them: sums and minima are updated, not made again."""

    def __init__(self, free: Array, known: Array, rule: Rule, distance: Distance) -> None:
        self.free, self.rule, self.distance = free, rule, distance
        self.size = len(known)
        self.total = np.zeros(len(free))
        self.nearest = np.full(len(free), np.inf)
        self.centre = known.sum(axis=0) if len(known) else np.zeros(free.shape[1])
        for point in known if rule != "centroid" else ():
            self._measure(point)

    def add(self, point: Array) -> None:
        self.size += 1
        self.centre = self.centre + point
        if self.rule != "centroid":
            self._measure(point)

    def distances(self) -> Array:
        if not self.size:
            return np.zeros(len(self.free))
        if self.rule == "centroid":
            return _between(self.free, self.centre / self.size, self.distance)
        return self.total / self.size if self.rule == "mean" else self.nearest

    def _measure(self, point: Array) -> None:
        found = _between(self.free, point, self.distance)
        self.total += found
        self.nearest = np.minimum(self.nearest, found)


def _between(points: Array, one: Array, distance: Distance) -> Array:
    """Return (N,) distances of points to one."""
    if distance == "euclidean":
        return np.asarray(np.sqrt(((points - one) ** 2).sum(axis=1)))
    length = float(np.linalg.norm(one))
    return np.asarray(1.0 - points @ (one / length if length > 0 else one))


def _scaled(points: Array, distance: Distance) -> Array:
    """Return float64 rows, of length 1 for the cosine."""
    rows = np.asarray(points, dtype=np.float64)
    if distance == "euclidean":
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)
