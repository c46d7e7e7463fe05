"""A-SVM: a classifier of the source, and the smallest correction that the target's samples ask for.

Idea      f = f_src + df: instead of towards zero, the target's classifier is drawn towards the source's. Where
          the target has no samples nothing is corrected.
Paper     van Opbroek, Ikram, Vernooij, de Bruijne. IEEE Transactions on Medical Imaging 2015.
          doi:10.1109/TMI.2014.2366792;  the machine: Yang, Yan, Hauptmann. ACM Multimedia 2007.
Formula   min_v |v|^2 / 2 + C sum_i xi_i   s.t.  y_i f_src(x_i) + y_i v'phi(x_i) >= 1 - xi_i   on the target;
          dual  max_a sum_i a_i (1 - y_i f_src(x_i)) - 1/2 sum_ij a_i a_j y_i y_j k(x_i, x_j),   0 <= a_i <= C w_i
Defaults  correction = 1, the cost of the correction beside that of the source's classifier (ours).
Differs   none; the correction has no intercept, as in the formula.
"""

from __future__ import annotations

import numpy as np

from allograft.shallow.hinge import Machine, Solution, box_dual
from allograft.shallow.kernel_svm import Array, Binary, Codes, KernelSVM, Mask, TransferSVM

__all__ = ["AdaptiveSVM"]


class AdaptiveSVM(TransferSVM):
    """A kernel SVM of the source samples, corrected on the target's.

    Args:
        correction: the cost of an error on the target is correction * cost, > 0.
        svm: the machine; None takes `KernelSVM()`.

    The kernel matrix of the target's samples is held, whatever the map: they are meant to be few thousands.

    Attributes:
        source_: the source's decisions, before the correction.
        dual_: (n_t, B), a_i y_i of the target's samples for each of the B decisions.
    """

    def __init__(self, svm: KernelSVM | None = None, *, correction: float = 1.0) -> None:
        super().__init__(svm)
        self.correction = correction

    def _learn(self, x: Array, codes: Codes, weights: Array, own: Mask) -> None:
        sources: list[Solution] = []
        duals: list[Array] = []

        def solve(machine: Machine, signs: Array, given: Array) -> Binary:
            source = machine.solve(signs, np.where(own, 0.0, given))
            coef, dual = self._corrected(machine, source, signs, np.where(own, given, 0.0))
            sources.append(source)
            duals.append(dual[own])
            return Binary((Solution(coef, source.intercept),))

        self.svm_ = self._machine().fit_by(x, codes, weights, solve)
        self.source_, self.dual_ = tuple(sources), np.stack(duals, axis=1)

    def _corrected(self, machine: Machine, source: Solution, signs: Array, weights: Array) -> tuple[Array, Array]:
        """Return the coefficients of f_src + df, and a_i y_i (n,) of the correction, 0 where a weight is."""
        own, dual = weights > 0, np.zeros(len(signs))
        features, known = machine.features[own], machine.values(source)[own]
        exact = machine.map.kind == "exact"
        gram = features[:, own] if exact else features @ features.T
        upper = self.correction * machine.cost * weights[own]
        y = signs[own]
        dual[own] = y * box_dual(gram * np.outer(y, y), 1 - y * known, upper, tolerance=min(1e-6, machine.tolerance))
        return source.coef + (dual if exact else features.T @ dual[own]), dual
