"""KMM: the head is fitted on source cases weighted so that their kernel mean is the target's.

Idea      Source cases that look like the target count more. Their weights need no label, and no densities either: the
          weighted mean in a kernel's feature space is to be that of the target.
Paper     Huang, Gretton, Borgwardt, Schoelkopf, Smola. Correcting sample selection bias by unlabeled data. NIPS 2006.
Formula   min_w 1/2 w'K w - kappa'w,  0 <= w_i <= bound,  |sum w - n_s| <= n_s epsilon;
          kappa_i = n_s/n_t sum_j k(x_i, t_j);  then min sum_i w_i loss(x_i, y_i) + |v|^2 / 2C
Streams   those of the recipe's objective in the stage "source"; then features of "train", "val" and "target" cases.
Defaults  gamma = 1 / median squared distance (ours).  bound = 1000 (paper).  epsilon = (sqrt(n_s) - 1) / sqrt(n_s)
          (paper).  memory = 512 (ours).  features = 0 (ours).  strengths = 0.001 to 10 (ours).
Differs   1. The samples are cases, their features those that the network's head sees after it has learnt the source by
             the recipe's tuning ("frozen": features of the pretrained encoder), z-scored over source and target.
          2. The classifier is a logistic regression whose C the source's validation chooses; it is written into the
             network's linear head. Labelled target cases, where there are some, weigh 1.
          3. Solved by accelerated projected gradient, to within 1e-5 of the least squared distance of the means.
Checked   tests/reference/test_kmm.py: worked values of twelve samples; SciPy's SLSQP; source = target gives equal
          weights; blocks give the held kernel's weights; the weighted mean moves to the target's.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.shallow_transfer import Asking, by_weights
from allograft.shallow.kmm import KMM
from allograft.shallow.logistic import GRID

__all__ = ["KMMTransfer"]


class KMMTransfer(Method):
    """Weigh source cases by kernel mean matching; see `allograft.shallow.kmm.KMM`.

    Args:
        gamma: of the Gaussian kernel, > 0; None takes 1 / median squared distance of all cases.
        bound: largest weight, > 0.
        epsilon: how far the mean weight may be from 1, >= 0; None takes (sqrt(n_s) - 1) / sqrt(n_s).
        memory: megabytes for the kernel of the source; a larger one is computed anew in every step.
        features: random Fourier features in place of the kernel, 0 for none, at least 2.
        strengths: C of the logistic regression that validation chooses from, > 0.
    """

    name: ClassVar[str] = "kmm"
    paper: ClassVar[Reference] = Reference(
        title="Correcting Sample Selection Bias by Unlabeled Data",
        authors=("Huang", "Gretton", "Borgwardt", "Schölkopf", "Smola"),
        year=2006,
        venue="NIPS",
    )

    gamma: float | None = Field(default=None, gt=0)
    bound: float = Field(default=1000.0, gt=0)
    epsilon: float | None = Field(default=None, ge=0)
    memory: float = Field(default=512.0, gt=0)
    features: int = Field(default=0, ge=0)
    strengths: tuple[float, ...] = Field(default=GRID, min_length=1)

    def run(self, lab: Lab) -> Network:
        """Train the stage "source", weigh its cases, and return the network with the weighted head.

        Raises:
            ConfigError: the study has no target, the task is not binary or multi-class, the recipe learns from target
                cases alone, or the network pools otherwise than by the mean of all positions.
            DataError: a class has no labelled case.
        """
        weighter = KMM(
            self.gamma,
            bound=self.bound,
            epsilon=self.epsilon,
            memory=self.memory,
            features=self.features,
            random_state=lab.seed("kmm") % 2**32,
        )
        return by_weights(Asking(lab, self.name, self.strengths), weighter)
