"""SwAV: the prototype that one view is assigned to is foretold from the other.

Idea      Compare images by which of a few prototypes they belong to, not pair by pair. Assignments that give every
          prototype an equal share cannot all be the same.
Paper     Caron, Misra, Mairal, Goyal, Bojanowski, Joulin. Unsupervised learning of visual features by contrasting
          cluster assignments. NeurIPS 2020.  arXiv:2006.09882
Formula   z = normalised g(f(view)),  s = C z for prototypes C of length 1,  q = Sinkhorn-Knopp(s; epsilon,
          iterations) without gradient,  L = -1/2 mean q_1 . log softmax(s_2 / T) - 1/2 mean q_2 . log softmax(s_1 / T)
Streams   images: two looks at each image; no target.
Defaults  prototypes = 32 (ours; paper 3000): not many more than a batch has images, or assignments are chance.
          temperature = 0.1 (paper).  epsilon = 0.05 (paper).  iterations = 3 (paper).  freeze = 0.01, the share of
          the steps before prototypes move (ours; the paper's first epoch).  hidden = 2048 (paper).
          output = 128 (paper).
Differs   1. Two views; the paper's further small crops (multi-crop) are left out.
          2. No queue of earlier images, which the paper adds where prototypes outnumber a batch.
          3. Prototypes are brought back to length 1 after each step; the released code does so before each.
          4. With several processes assignments are the whole batch's; batch norms see their own process's images.
Checked   tests/reference/test_swav.py: equals lightly's loss; after many Sinkhorn iterations rows and columns have the
          marginals asked for, after three plain arithmetic gives the same; assignments get no gradient; prototypes
          keep length 1 and are still while frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.exact import in_full_precision
from allograft.functional.sinkhorn import sinkhorn
from allograft.nets.network import Network
from allograft.nets.projector import projector
from allograft.objectives.pretext import IMAGES
from allograft.objectives.two_views import TwoViews, ViewsCriterion, looks

__all__ = ["SwAV", "likeness"]


@in_full_precision
def likeness(outputs: Tensor, prototypes: Tensor) -> Tensor:
    """Return the scores (B, K) of outputs (B, D), whose length does not matter, and prototypes (K, D)."""
    return F.normalize(outputs, dim=1) @ prototypes.T


class SwAV(TwoViews, Method):
    """Minimise the cross-entropy of one view's assignment as the other view foretells it.

    Args:
        prototypes: K.
        temperature: T of the softmax, > 0.
        epsilon: entropy of the assignments, > 0.
        iterations: of Sinkhorn-Knopp.
        freeze: share of the steps before prototypes move, in [0, 1).
    """

    name: ClassVar[str] = "swav"
    paper: ClassVar[Reference] = Reference(
        title="Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
        authors=("Caron", "Misra", "Mairal", "Goyal", "Bojanowski", "Joulin"),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.09882",
    )

    prototypes: int = Field(default=32, ge=2)
    temperature: float = Field(default=0.1, gt=0)
    epsilon: float = Field(default=0.05, gt=0)
    iterations: int = Field(default=3, ge=1)
    freeze: float = Field(default=0.01, ge=0, lt=1)
    hidden: int = Field(default=2048, ge=0)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion, which owns projector and prototypes."""
        return _SwAVCriterion(self, nets["net"].shape.channels[-1])


class _SwAVCriterion(ViewsCriterion):
    def __init__(self, spec: SwAV, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.projector = projector(width, spec.hidden or width, spec.output)
        self.prototypes = nn.Parameter(F.normalize(torch.randn(spec.prototypes, spec.output), dim=1))

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; part: how many prototypes are some image's first, of as many as could be."""
        fixed = self.prototypes.detach() if at.fraction < self.spec.freeze else self.prototypes
        outputs = (self.projector(nets["net"](image).pooled) for image in looks(batch[IMAGES]))
        scores = self.whole(*(likeness(z, fixed) for z in outputs))
        used = len(set(scores[0].detach().argmax(1).tolist())) / min(len(fixed), len(scores[0]))
        return Loss(self.swapped(*scores), {"used": torch.tensor(used)})

    def swapped(self, one: Tensor, two: Tensor) -> Tensor:
        """Return the loss of the two views' scores (B, K)."""
        return (self._foretold(one, two) + self._foretold(two, one)) / 2

    def after_step(self, nets: Mapping[str, Network], at: Progress) -> None:
        """Bring prototypes back to length 1."""
        with torch.no_grad():
            self.prototypes.copy_(F.normalize(self.prototypes, dim=1))

    def _foretold(self, assigned: Tensor, by: Tensor) -> Tensor:
        """Return the cross-entropy of one view's assignment and the other's softmax."""
        codes = sinkhorn(assigned, self.spec.epsilon, self.spec.iterations).to(by.dtype)
        return -(codes * F.log_softmax(by / self.spec.temperature, dim=1)).sum(1).mean()
