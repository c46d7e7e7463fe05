"""Subspace alignment: the head is fitted on source cases turned into the target's principal axes.

Idea      Each domain has principal axes of its own. Turning the source's onto the target's by the best linear map lets
          one classifier read both.
Paper     Fernando, Habrard, Sebban, Tuytelaars. Unsupervised visual domain adaptation using subspace alignment. ICCV
          2013.  doi:10.1109/ICCV.2013.368
Formula   M = Ps'Pt;  source (x - mean_s) Ps M,  target (x - mean_t) Pt;  then min loss(mapped, y) + |v|^2 / 2C
Streams   those of the recipe's objective in the stage "source"; then features of "train", "val" and "target" cases.
Defaults  components = 0.9 of the variance (ours).  apart = true (ours).  strengths = 0.001 to 10 (ours).
Differs   1. The samples are cases, their features those that the network's head sees after it has learnt the source by
             the recipe's tuning ("frozen": features of the pretrained encoder).
          2. The classifier is a logistic regression whose C the source's validation chooses, on features mapped as the
             source's; the target's map is folded into the network's linear head.
          3. k is a share of the variance or given; the paper bounds it by the bases' stability.
Checked   tests/reference/test_subspace_alignment.py: worked angles and distance; SciPy's subspace_angles; signs of axes
          change nothing; a rotated domain is turned back; the head gives the mapped classifier's logits.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.shallow_transfer import Asking, by_map
from allograft.shallow.logistic import GRID
from allograft.shallow.subspace_alignment import SubspaceAlignment

__all__ = ["SubspaceTransfer"]


class SubspaceTransfer(Method):
    """Turn the source's principal axes into the target's; see `allograft.shallow.subspace_alignment`.

    Args:
        components: a share of the variance in (0, 1) that the axes hold in both domains, or how many, >= 1.
        apart: z-score each domain by itself before, not both together.
        strengths: C of the logistic regression that validation chooses from, > 0.
    """

    name: ClassVar[str] = "subspace_alignment"
    paper: ClassVar[Reference] = Reference(
        title="Unsupervised Visual Domain Adaptation Using Subspace Alignment",
        authors=("Fernando", "Habrard", "Sebban", "Tuytelaars"),
        year=2013,
        venue="ICCV",
        doi="10.1109/ICCV.2013.368",
    )

    components: float = Field(default=0.9, gt=0)
    apart: bool = True
    strengths: tuple[float, ...] = Field(default=GRID, min_length=1)

    def run(self, lab: Lab) -> Network:
        """Train the stage "source", align the axes, and return the network with the mapped head.

        Raises:
            ConfigError: the study has no target, the task is not binary or multi-class, the recipe learns from target
                cases alone, or the network pools otherwise than by the mean of all positions.
            DataError: a class has no labelled case.
        """
        mapper = SubspaceAlignment(self.components)
        return by_map(Asking(lab, self.name, self.strengths), mapper, apart=self.apart)
