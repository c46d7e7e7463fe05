"""SimSiam: one view foretells the other through the same network, whose answer is held still.

Idea      Neither negatives nor a slow copy are needed: with a predictor on one branch and no gradient through the
          other, two branches of one network learn from each other and do not collapse.
Paper     Chen, He. Exploring simple Siamese representation learning. CVPR 2021.  arXiv:2011.10566
Formula   z = g(f(view)),  p = h(z),  L = -1/2 mean cos(p_1, sg(z_2)) - 1/2 mean cos(p_2, sg(z_1)),  sg: no gradient
Streams   images: two looks at each image; no target.
Defaults  hidden = 0, the width of the features, twice (paper's released code).  output = 2048 (paper).
          bottleneck = 512, of the predictor (paper).
Differs   1. The predictor learns at the recipe's schedule; the released code keeps its rate constant.
          2. Batches are the recipe's; the paper has 512 and normalises over all devices, here each by itself.
Checked   tests/reference/test_simsiam.py: equals lightly's loss and a typed loop, equal branches give -1; targets get
          no gradient; with a gradient through them outputs of all images come together, without they stay apart; the
          gradient reaches the encoder and the loss falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.cosine import directions, mean_cosine
from allograft.nets.network import Network
from allograft.nets.projector import projector
from allograft.objectives.pretext import IMAGES
from allograft.objectives.two_views import TwoViews, ViewsCriterion, looks

__all__ = ["SimSiam", "siamese_loss"]


def siamese_loss(p_one: Tensor, p_two: Tensor, z_one: Tensor, z_two: Tensor) -> Tensor:
    """Return minus the mean cosine of predictions p (B, D) and the other view's z (B, D), which gets no gradient."""
    return -(mean_cosine(p_one, z_two.detach()) + mean_cosine(p_two, z_one.detach())) / 2


class SimSiam(TwoViews, Method):
    """Minimise minus the cosine of predictions and the other view's outputs.

    Args:
        bottleneck: width of the predictor's hidden layer.
    """

    name: ClassVar[str] = "simsiam"
    paper: ClassVar[Reference] = Reference(
        title="Exploring Simple Siamese Representation Learning",
        authors=("Chen", "He"),
        year=2021,
        venue="CVPR",
        arxiv="2011.10566",
    )

    output: int = Field(default=2048, ge=2)
    bottleneck: int = Field(default=512, ge=1)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion, which owns projector and predictor."""
        return _SimSiamCriterion(self, nets["net"].shape.channels[-1])


class _SimSiamCriterion(ViewsCriterion):
    def __init__(self, spec: SimSiam, width: int) -> None:
        super().__init__()
        hidden = spec.hidden or width
        self.projector = projector(width, hidden, hidden, spec.output, last_norm=True, last_bias=False)
        self.predictor = projector(spec.output, spec.bottleneck, spec.output)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; part: how much the outputs of different images differ (0: collapsed)."""
        z_one, z_two = (self.projector(nets["net"](image).pooled) for image in looks(batch[IMAGES]))
        loss = siamese_loss(self.predictor(z_one), self.predictor(z_two), z_one, z_two)
        return Loss(loss, {"directions": directions(z_one)})
