"""Hinge problems in a kernel's features: weighted support vector machines, and those that correct a known function."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from sklearn.svm import SVC, LinearSVC

from allograft.shallow.feature_map import FeatureMap

__all__ = ["Machine", "Solution", "box_dual"]

Array = npt.NDArray[np.float64]

INTERCEPT = 3.0
"""The constant feature of the linear solver, which shrinks its weight: a larger one frees it and slows the solver."""


@dataclass(frozen=True)
class Solution:
    """A decision: features @ coef + intercept.

    Args:
        coef: (D,) over the map's features; of an exact kernel over the training points.
        intercept: a number.
    """

    coef: Array
    intercept: float


@dataclass(frozen=True)
class Machine:
    """Training points in a kernel's features.

    Args:
        map: the features; "exact" has the training points as anchors.
        x: (n, F).
        cost: C.
        rounds: of the linear solver at most.
        tolerance: of the solvers.
    """

    map: FeatureMap
    x: Array
    cost: float
    rounds: int = 1000
    tolerance: float = 1e-3

    @cached_property
    def features(self) -> Array:
        """(n, D); of an exact kernel its matrix (n, n)."""
        return self.map(self.x)

    def values(self, solution: Solution) -> Array:
        """Return the decision (n,) at the training points."""
        return np.asarray(self.features @ solution.coef + solution.intercept)

    def solve(self, signs: Array, weights: Array) -> Solution:
        """Return the minimum of |v|^2 / 2 + C sum_i weights_i max(0, 1 - signs_i f(x_i)).

        Args:
            signs: (n,) of -1 and 1.
            weights: (n,) >= 0; points of weight 0 take no part. Of one sign alone the decision is that sign.
        """
        kept = np.flatnonzero(weights > 0)
        if len(kept) == 0 or np.ptp(signs[kept]) == 0:
            return Solution(np.zeros(self._width), float(signs[kept[0]]) if len(kept) else 0.0)
        return self._exact(signs, weights, kept) if self.map.kind == "exact" else self._linear(signs, weights, kept)

    @property
    def _width(self) -> int:
        return len(self.x) if self.map.kind == "exact" else self.features.shape[1]

    def _exact(self, signs: Array, weights: Array, kept: npt.NDArray[np.int64]) -> Solution:
        single = len(self.map.kernel.theta) == 1
        if single:
            scaled = self.x[kept] * np.sqrt(self.map.kernel.rates[0])
            theta = float(self.map.kernel.theta[0])
            svm = SVC(C=self.cost * theta, kernel="rbf", gamma=1.0, tol=self.tolerance, cache_size=500)
            svm.fit(scaled, signs[kept], sample_weight=weights[kept])
            dual = svm.dual_coef_[0] / theta
        else:
            svm = SVC(C=self.cost, kernel="precomputed", tol=self.tolerance)
            svm.fit(self.features[np.ix_(kept, kept)], signs[kept], sample_weight=weights[kept])
            dual = svm.dual_coef_[0]
        coef = np.zeros(len(self.x))
        coef[kept[svm.support_]] = dual
        return Solution(coef, float(svm.intercept_[0]))

    def _linear(self, signs: Array, weights: Array, kept: npt.NDArray[np.int64]) -> Solution:
        svm = LinearSVC(
            C=self.cost,
            loss="hinge",
            dual=True,
            tol=self.tolerance,
            max_iter=self.rounds,
            intercept_scaling=INTERCEPT,
            random_state=0,
        )
        features = self.features if len(kept) == len(self.x) else self.features[kept]
        svm.fit(features, signs[kept], sample_weight=weights[kept])
        return Solution(svm.coef_[0].astype(np.float64), float(svm.intercept_[0]))


def box_dual(gram: Array, linear: Array, upper: Array, *, rounds: int = 5000, tolerance: float = 1e-8) -> Array:
    """Return the a in [0, upper] that maximises linear'a - a' gram a / 2, one coordinate after the other.

    Args:
        gram: (n, n), positive semi-definite.
        linear: (n,).
        upper: (n,) >= 0.
        rounds: over all coordinates at most.
        tolerance: largest gradient that is left, inside the box.
    """
    a, product = np.zeros(len(linear)), np.zeros(len(linear))
    curve = np.maximum(np.diag(gram), 1e-12)
    for _ in range(rounds):
        worst = 0.0
        for i in range(len(a)):
            gradient = linear[i] - product[i]
            moved = min(max(a[i] + gradient / curve[i], 0.0), upper[i])
            if moved != a[i]:
                worst = max(worst, abs(moved - a[i]) * curve[i])
                product += (moved - a[i]) * gram[:, i]
                a[i] = moved
        if worst <= tolerance:
            break
    return a
