"""CORAL: the head is fitted on source cases given the target's covariance.

Idea      Whiten the source's features and colour them with the target's covariance; a classifier of these has seen what
          varies together in the target.
Paper     Sun, Feng, Saenko. Return of frustratingly easy domain adaptation. AAAI 2016.  arXiv:1511.05547
Formula   z = x_s Cs^(-1/2) Ct^(1/2),  C = cov + shrink I;  then min loss(z, y) + |v|^2 / 2C
Streams   those of the recipe's objective in the stage "source"; then features of "train", "val" and "target" cases.
Defaults  shrink = 1 (paper).  apart = true (paper).  strengths = 0.001 to 10 (ours).
Differs   1. The samples are cases, their features those that the network's head sees after it has learnt the source by
             the recipe's tuning ("frozen": features of the pretrained encoder).
          2. The classifier is a logistic regression whose C the source's validation chooses, on features mapped as the
             source's; the target's scale is folded into the network's linear head.
          3. Where the domains are scaled together (apart = false), the source's mean moves to the target's too.
Checked   tests/reference/test_coral.py: worked values; SciPy's sqrtm; cov(z) = cov(target); POT's linear map where
          it is installed; equal domains stay as they are; the head gives the mapped classifier's logits.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.shallow_transfer import Asking, by_map
from allograft.shallow.coral import CORAL
from allograft.shallow.logistic import GRID

__all__ = ["CORALTransfer"]


class CORALTransfer(Method):
    """Align the source's covariance with the target's; see `allograft.shallow.coral.CORAL`.

    Args:
        shrink: added to the covariances' diagonals, >= 0; features are z-scored, so 1 is a feature's own variance.
        apart: z-score each domain by itself before, not both together.
        strengths: C of the logistic regression that validation chooses from, > 0.
    """

    name: ClassVar[str] = "coral"
    paper: ClassVar[Reference] = Reference(
        title="Return of Frustratingly Easy Domain Adaptation",
        authors=("Sun", "Feng", "Saenko"),
        year=2016,
        venue="AAAI",
        arxiv="1511.05547",
    )

    shrink: float = Field(default=1.0, ge=0)
    apart: bool = True
    strengths: tuple[float, ...] = Field(default=GRID, min_length=1)

    def run(self, lab: Lab) -> Network:
        """Train the stage "source", align the covariances, and return the network with the mapped head.

        Raises:
            ConfigError: the study has no target, the task is not binary or multi-class, the recipe learns from target
                cases alone, or the network pools otherwise than by the mean of all positions.
            DataError: a class has no labelled case.
        """
        mapper = CORAL(self.shrink, centre=not self.apart)
        return by_map(Asking(lab, self.name, self.strengths), mapper, apart=self.apart)
