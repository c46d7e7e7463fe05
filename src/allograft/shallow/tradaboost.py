"""TrAdaBoost: boosting that trusts the target's errors and distrusts the source's.

Idea      In each round samples of the target that came out wrong gain weight, as in boosting; those of the source lose
          it: they are from another distribution. The later half of the rounds votes.
Paper     Dai, Yang, Xue, Yu. Boosting for transfer learning. ICML 2007.
          Of voxels: van Opbroek and others. IEEE TMI 2015.  doi:10.1109/TMI.2014.2366792
Formula   e = sum_target w |h - y| / sum_target w;   beta_t = e / (1 - e);   beta = 1 / (1 + sqrt(2 ln n_s / N));
          source w *= beta^|h - y|;  target w *= beta_t^-|h - y|;
          class 1 where prod_{t >= N/2} beta_t^-h >= prod_{t >= N/2} beta_t^(-1/2)
Defaults  most = 10 rounds N (ours).  The weak learner is the kernel SVM (ours; Dai's was an SVM too).
Differs   1. Rounds end early where e is 0 (nothing is left to learn; beta_t is held at 1e-6). Where e is 1/2 or more,
          which the paper rules out, beta_t is 1: the learner has no vote, and the source loses weight. The later half
          is that of the rounds that were made; without any vote it decides by equal ones. 2. beta_t is e / (1 - e): a
          known package has e / (2 - e). 3. Several classes are boosted one against the rest.
          4. A kernel SVM is a strong learner: without source samples the later rounds chase outliers.
"""

from __future__ import annotations

import numpy as np

from allograft.shallow.hinge import Machine, Solution
from allograft.shallow.kernel_svm import Array, Binary, Codes, KernelSVM, Mask, TransferSVM

__all__ = ["TrAdaBoost", "boosting_step"]

LEAST = 1e-6
"""Where beta_t ends: a learner without an error on the target."""


def boosting_step(weights: Array, wrong: Mask, target: Mask, rounds: int) -> tuple[Array, float, float]:
    """Return the next weights (n,), which sum to 1, the error e on the target and beta_t.

    Args:
        weights: (n,) >= 0.
        wrong: (n,) whether the learner is wrong.
        target: (n,) whether a sample is the target's.
        rounds: N, of all.
    """
    own = float(weights[target].sum())
    error = float(weights[target & wrong].sum()) / own if own > 0 else 0.0
    beta_t = max(LEAST, error / (1 - error)) if error < 0.5 else 1.0
    beta = 1 / (1 + np.sqrt(2 * np.log(max(1, int((~target).sum()))) / rounds))
    factor = np.where(wrong, np.where(target, 1 / beta_t, beta), 1.0)
    moved = weights * factor
    return moved / moved.sum(), error, beta_t


class TrAdaBoost(TransferSVM):
    """Boosted kernel SVMs.

    Args:
        most: rounds N, >= 1.
        svm: the machine; None takes `KernelSVM()`.
            The weights of a round are scaled to a mean of 1 before they are given to it.

    Attributes:
        errors_: by decision, the error on the target in each round.
    """

    def __init__(self, svm: KernelSVM | None = None, *, most: int = 10) -> None:
        super().__init__(svm)
        self.most = most

    def _learn(self, x: Array, codes: Codes, weights: Array, own: Mask) -> None:
        errors: list[tuple[float, ...]] = []

        def solve(machine: Machine, signs: Array, given: Array) -> Binary:
            binary, found = self._boosted(machine, signs, given / given.sum(), own)
            errors.append(found)
            return binary

        self.svm_ = self._machine().fit_by(x, codes, weights, solve)
        self.errors_ = tuple(errors)

    def _boosted(self, machine: Machine, signs: Array, weights: Array, own: Mask) -> tuple[Binary, tuple[float, ...]]:
        """Return the vote of the later half of the rounds, and the error of each round on the target."""
        made, errors = list[tuple[Solution, float]](), list[float]()
        for _ in range(self.most):
            solution = machine.solve(signs, weights * len(weights))
            wrong = (machine.values(solution) > 0) != (signs > 0)
            moved, error, beta_t = boosting_step(weights, wrong, own, self.most)
            errors.append(error)
            made.append((solution, beta_t))
            if error == 0:
                break
            weights = moved
        kept = made[len(made) // 2 :]
        votes = np.array([-np.log(beta) for _, beta in kept])
        votes = votes / votes.sum() if votes.sum() > 0 else np.full(len(kept), 1 / len(kept))
        return Binary(tuple(solution for solution, _ in kept), votes), tuple(errors)
