"""RSVM: samples of the source that contradict the classifier lose their weight, round by round.

Idea      Some samples of another scanner mislead. Fit to all, let those of the source that come out wrong count less,
          fit again, until nothing changes; the target's samples keep their weight.
Paper     van Opbroek, Ikram, Vernooij, de Bruijne. Transfer learning improves supervised image segmentation across
          imaging protocols. IEEE Transactions on Medical Imaging 2015.  doi:10.1109/TMI.2014.2366792
Formula   w_i <- shrink w_i for i of the source with y_i f(x_i) <= 0;  fit again;  until there is no such i
Defaults  shrink = 0.5, least = 0.01, most = 20, source_weight = 1 (ours; the formula was not open to us in print).
Differs   Several classes are reweighted one against the rest, each with weights of its own (ours).
"""

from __future__ import annotations

import numpy as np

from allograft.shallow.hinge import Machine, Solution
from allograft.shallow.kernel_svm import Array, Binary, Codes, KernelSVM, Mask, TransferSVM

__all__ = ["ReweightedSVM"]


class ReweightedSVM(TransferSVM):
    """A kernel SVM that lets go of source samples it gets wrong.

    Args:
        shrink: factor of the weight of a wrong source sample, in (0, 1).
        least: a weight below this is 0.
        most: rounds at most.
        source_weight: of every source sample in the first round, > 0.
        svm: the machine; None takes `KernelSVM()`.

    Attributes:
        weights_: (n, B) at the end, a column for each of the B decisions; the target's are as given.
        rounds_: (B,) fits that each decision took.
    """

    def __init__(
        self,
        svm: KernelSVM | None = None,
        *,
        shrink: float = 0.5,
        least: float = 0.01,
        most: int = 20,
        source_weight: float = 1.0,
    ) -> None:
        super().__init__(svm)
        self.shrink = shrink
        self.least = least
        self.most = most
        self.source_weight = source_weight

    def _learn(self, x: Array, codes: Codes, weights: Array, own: Mask) -> None:
        found: list[tuple[Array, int]] = []

        def solve(machine: Machine, signs: Array, first: Array) -> Binary:
            solution, last, count = self._reweighted(machine, signs, first, own)
            found.append((last, count))
            return Binary((solution,))

        first = np.where(own, weights, self.source_weight * weights)
        self.svm_ = self._machine().fit_by(x, codes, first, solve)
        self.weights_ = np.stack([last for last, _ in found], axis=1)
        self.rounds_ = np.array([count for _, count in found])

    def _reweighted(self, machine: Machine, signs: Array, first: Array, own: Mask) -> tuple[Solution, Array, int]:
        """Return the last decision, the weights under which it was made, and how many were."""
        weights = first
        for count in range(1, self.most + 1):
            solution = machine.solve(signs, weights)
            wrong = ~own & (weights > 0) & (signs * machine.values(solution) <= 0)
            if not wrong.any() or count == self.most:
                break
            weights = np.where(wrong, self.shrink * weights, weights)
            weights[~own & (weights < self.least * first)] = 0
        return solution, weights, count
