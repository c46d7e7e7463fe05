"""Discriminative ratio: the head is fitted on source cases weighted by how much they pass for target cases.

Idea      A classifier learns to tell target from source. Where it takes a source case for one of the target, such cases
          are common there, and this one counts more.
Paper     Bickel, Brueckner, Scheffer. Discriminative learning for differing training and test distributions. ICML 2007.
Formula   w(x) = p(target | x) / p(source | x) * n_s / n_t;  then min sum_i w(x_i) loss(x_i, y_i) + |v|^2 / 2C
Streams   those of the recipe's objective in the stage "source"; then features of "train", "val" and "target" cases.
Defaults  folds = 5 (ours).  bound = none (ours).  strengths = 0.001 to 10 (ours).
Differs   1. The samples are cases, their features those that the network's head sees after it has learnt the source by
             the recipe's tuning ("frozen": features of the pretrained encoder), z-scored over source and target.
          2. The classifier is a logistic regression whose C the source's validation chooses; it is written into the
             network's linear head. Labelled target cases, where there are some, weigh 1.
          3. The classifier of domains is fitted first and not together with the other; each case's weight comes from a
             fit without it, whose C cross-validation chooses.
Checked   tests/reference/test_discriminative_ratio.py: scikit-learn's probabilities by the formula; source = target
          gives weights 1; the ratio of two known Gaussians; left-out weights do not collapse where features are many.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.shallow_transfer import Asking, by_weights
from allograft.shallow.discriminative_ratio import DiscriminativeRatio
from allograft.shallow.logistic import GRID

__all__ = ["RatioTransfer"]


class RatioTransfer(Method):
    """Weigh source cases by the odds of a domain classifier; see `allograft.shallow.discriminative_ratio`.

    Args:
        folds: parts from which weights and the domain classifier's C come.
        bound: largest weight, > 0; None for no bound.
        strengths: C of the logistic regression that validation chooses from, > 0.
    """

    name: ClassVar[str] = "discriminative_ratio"
    paper: ClassVar[Reference] = Reference(
        title="Discriminative learning for differing training and test distributions",
        authors=("Bickel", "Brückner", "Scheffer"),
        year=2007,
        venue="ICML",
    )

    folds: int = Field(default=5, ge=2)
    bound: float | None = Field(default=None, gt=0)
    strengths: tuple[float, ...] = Field(default=GRID, min_length=1)

    def run(self, lab: Lab) -> Network:
        """Train the stage "source", weigh its cases, and return the network with the weighted head.

        Raises:
            ConfigError: the study has no target, the task is not binary or multi-class, the recipe learns from target
                cases alone, or the network pools otherwise than by the mean of all positions.
            DataError: a class has no labelled case.
        """
        seed = lab.seed("discriminative_ratio") % 2**32
        weighter = DiscriminativeRatio(folds=self.folds, bound=self.bound, random_state=seed)
        return by_weights(Asking(lab, self.name, self.strengths), weighter)
