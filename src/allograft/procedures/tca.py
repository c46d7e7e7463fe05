"""TCA: the head is a kernel classifier of the components along which source and target agree.

Idea      Among the directions of a kernel's feature space, keep those along which cases vary and the domains' means do
          not differ; a classifier of these is told nothing of where a case comes from.
Paper     Pan, Tsang, Kwok, Yang. Domain adaptation via transfer component analysis. IEEE Transactions on Neural
          Networks 22(2), 2011.  doi:10.1109/TNN.2010.2091281
Formula   K H K v = lambda (K L K + mu I) v, the largest lambda;  embedding K V;  then min loss(K V c, y) + |c|^2 / 2C
Streams   those of the recipe's objective in the stage "source"; then features of "train", "val" and "target" cases.
Defaults  components = 10 (ours).  gamma = 1 / median squared distance (ours).  mu = 1 (ours).  most = 2000 (ours).
          strengths = 0.001 to 10 (ours).
Differs   1. The samples are cases, their features those that the network's head sees after it has learnt the source by
             the recipe's tuning ("frozen": features of the pretrained encoder).
          2. The classifier is a logistic regression whose C the source's validation chooses, on features mapped as the
             source's; the domains share one map.
          3. Features are z-scored over source and target. The network that is returned has a kernel head (net.anchors)
             in place of the linear one; it holds the features of the cases that the map is made from.
Checked   tests/reference/test_tca.py: worked eigenvalues; V'(K L K + mu I) V = I; SciPy's eigh of the same problem by
          loops; new samples by their kernel row; the domains' means agree in the embedding; the head gives the map's
          logits.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Lab, Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.procedures.shallow_transfer import Asking, by_components
from allograft.shallow.logistic import GRID
from allograft.shallow.tca import TCA

__all__ = ["TCATransfer"]


class TCATransfer(Method):
    """Classify transfer components; see `allograft.shallow.tca.TCA`.

    Args:
        components: directions that are kept, >= 1.
        gamma: of the Gaussian kernel, > 0; None takes 1 / median squared distance of all cases.
        mu: penalty on the size of the directions, > 0.
        most: cases that the map is made from and the network keeps the features of, at most.
        strengths: C of the logistic regression that validation chooses from, > 0.
    """

    name: ClassVar[str] = "tca"
    paper: ClassVar[Reference] = Reference(
        title="Domain Adaptation via Transfer Component Analysis",
        authors=("Pan", "Tsang", "Kwok", "Yang"),
        year=2011,
        venue="IEEE Transactions on Neural Networks",
        doi="10.1109/TNN.2010.2091281",
    )

    components: int = Field(default=10, ge=1)
    gamma: float | None = Field(default=None, gt=0)
    mu: float = Field(default=1.0, gt=0)
    most: int = Field(default=2000, ge=2)
    strengths: tuple[float, ...] = Field(default=GRID, min_length=1)

    def run(self, lab: Lab) -> Network:
        """Train the stage "source", find the components, and return the network with a kernel head.

        Raises:
            ConfigError: the study has no target, the task is not binary or multi-class, the recipe learns from target
                cases alone, or the network pools otherwise than by the mean of all positions.
            DataError: a class has no labelled case.
        """
        seed = lab.seed("tca") % 2**32
        tca = TCA(self.components, gamma=self.gamma, mu=self.mu, most=self.most, random_state=seed)
        return by_components(Asking(lab, self.name, self.strengths), tca)
