"""BYOL: one view foretells what a slow copy of the network says of the other; there are no negatives.

Idea      A network that foretells its own slow average on another view keeps learning, and does not collapse to one
          answer for all images although nothing pushes them apart. Small batches do.
Paper     Grill, Strub, Altche, Tallec, Richemond, Buchatskaya, Doersch, Pires, Guo, Azar, Piot, Kavukcuoglu, Munos,
          Valko. Bootstrap your own latent. NeurIPS 2020.  arXiv:2006.07733
Formula   p = h(g(f(view))) normalised,  z = g'(f'(other view)) normalised and without gradient,
          L = mean ||p_1 - z_2||^2 + mean ||p_2 - z_1||^2;  after each step (f', g') <- m (f', g') + (1 - m) (f, g),
          m = 1 - (1 - momentum) (cos(pi t) + 1) / 2, t in [0, 1]
Streams   images: two looks at each image; no target.
Defaults  momentum = 0.996 (paper, of 1000 epochs; in some hundred steps the copy hardly moves, with 0.97 it follows).
          hidden = 4096, of projector and predictor (paper).  output = 256 (paper).
Differs   1. With several processes batch norms see the images of their own; the paper's see all.
          2. Optimiser and schedule are the recipe's; the paper's is LARS with batches of 4096.
          3. Blur and colour are those of the stage's augmentation, the same for both views; the paper's two differ.
Checked   tests/reference/test_byol.py: the loss equals lightly's negative cosine, doubled and moved to 0, and a typed
          loop; equal branches give 0 and opposite ones 8; the copy gets no gradient and moves by the cosine schedule;
          the gradient reaches the encoder, the loss falls and outputs stay apart.
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
from allograft.functional.ema import cosine_decay
from allograft.nets.network import Network
from allograft.nets.projector import projector
from allograft.objectives.followed import FollowedCriterion
from allograft.objectives.pretext import IMAGES
from allograft.objectives.two_views import TwoViews, looks

__all__ = ["BYOL", "foretold"]


def foretold(one: Tensor, two: Tensor, target_one: Tensor, target_two: Tensor) -> Tensor:
    """Return the mean squared distance, of length-1 vectors, of each prediction (B, D) and the other view's target."""
    return 4 - 2 * mean_cosine(one, target_two.detach()) - 2 * mean_cosine(two, target_one.detach())


class BYOL(TwoViews, Method):
    """Minimise the distance of predictions to a slow copy's answers on the other view.

    Args:
        momentum: share of itself that the copy keeps in the first step, in [0, 1]; it rises to 1.
    """

    name: ClassVar[str] = "byol"
    paper: ClassVar[Reference] = Reference(
        title="Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
        authors=(
            "Grill",
            "Strub",
            "Altche",
            "Tallec",
            "Richemond",
            "Buchatskaya",
            "Doersch",
            "Pires",
            "Guo",
            "Azar",
            "Piot",
            "Kavukcuoglu",
            "Munos",
            "Valko",
        ),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.07733",
    )

    momentum: float = Field(default=0.996, ge=0, le=1)
    hidden: int = Field(default=4096, ge=0)
    output: int = Field(default=256, ge=2)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion, which owns projector, predictor and the slow copy."""
        return _BYOLCriterion(self, nets["net"])


class _BYOLCriterion(FollowedCriterion):
    def __init__(self, spec: BYOL, net: Network) -> None:
        width = net.shape.channels[-1]
        hidden = spec.hidden or width
        super().__init__(net, projector(width, hidden, spec.output, last_bias=False))
        self.spec = spec
        self.predictor = projector(spec.output, hidden, spec.output, last_bias=False)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; part: how much the projections of different images differ (0: collapsed)."""
        one, two = looks(batch[IMAGES])
        a, b = self.embed(nets["net"], one), self.embed(nets["net"], two)
        targets = self.targets(nets["net"], one, two)
        return Loss(foretold(self.predictor(a), self.predictor(b), *targets), {"directions": directions(a)})

    def after_step(self, nets: Mapping[str, Network], at: Progress) -> None:
        """Move the copy, more and more slowly."""
        self.follow(nets, cosine_decay(at.fraction, self.spec.momentum))
