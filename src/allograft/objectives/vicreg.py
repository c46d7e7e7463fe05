"""VICReg: views agree, every coordinate varies over images, and no two coordinates vary together.

Idea      Say directly what collapse is and forbid it: a floor under the deviation of each coordinate keeps images
          apart, no covariance keeps coordinates from saying the same; the views need nothing else in common.
Paper     Bardes, Ponce, LeCun. VICReg: variance-invariance-covariance regularization for self-supervised learning.
          ICLR 2022.  arXiv:2105.04906
Formula   z = g(f(view)),  s(z) = mean_i (z_1,i - z_2,i)^2,  v(z) = mean_i max(0, 1 - sqrt(var z_i + 1e-4)),
          c(z) = sum_{i != j} cov(z)_ij^2 / D,
          L = invariance * s + variance * (v(z_1) + v(z_2)) / 2 + covariance * (c(z_1) + c(z_2))
Streams   images: two looks at each image; no target.
Defaults  invariance = 25 (paper).  variance = 25 (paper; halved over the views as in its released code).
          covariance = 1 (paper).  hidden = 2048 (ours; paper 8192).  output = 2048 (ours; paper 8192).
Differs   1. As in the released code s is the mean over coordinates and the variance terms of the views are averaged;
          the paper's formulas sum both.
          2. Batches are the recipe's; the paper has 2048. Of n images with deviations of 1 the term c is at least
          output / (n - 1) - 1, whatever they show: with output far above the batch it outweighs the others.
          3. With several processes all terms are the whole batch's; batch norms see their own process's images.
Checked   tests/reference/test_vicreg.py: equals lightly's loss and numpy's cov; equal, uncorrelated views of deviation
          above 1 give 0; each term answers to what it forbids and to nothing else; the gradient reaches the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.exact import in_full_precision
from allograft.nets.network import Network
from allograft.nets.projector import projector
from allograft.objectives.pretext import IMAGES
from allograft.objectives.two_views import TwoViews, ViewsCriterion, looks

__all__ = ["VICReg", "shared_variation", "too_still"]

EPSILON = 1e-4
"""Added to variances (paper)."""


@in_full_precision
def too_still(z: Tensor) -> Tensor:
    """Return how far the deviations of the coordinates of (B, D) stay below 1, on average."""
    return torch.relu(1 - (z.var(0) + EPSILON).sqrt()).mean()


@in_full_precision
def shared_variation(z: Tensor) -> Tensor:
    """Return the sum of squared covariances of different coordinates of (B, D), divided by D."""
    centred = z - z.mean(0)
    found = centred.T @ centred / (len(z) - 1)
    return (found.square().sum() - torch.diagonal(found).square().sum()) / z.shape[1]


class VICReg(TwoViews, Method):
    """Minimise three terms, each with its weight >= 0.

    Args:
        invariance: of the squared difference of the views.
        variance: of how far deviations stay below 1.
        covariance: of covariances of different coordinates.
    """

    name: ClassVar[str] = "vicreg"
    paper: ClassVar[Reference] = Reference(
        title="VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
        authors=("Bardes", "Ponce", "LeCun"),
        year=2022,
        venue="ICLR",
        arxiv="2105.04906",
    )

    invariance: float = Field(default=25.0, ge=0)
    variance: float = Field(default=25.0, ge=0)
    covariance: float = Field(default=1.0, ge=0)
    hidden: int = Field(default=2048, ge=0)
    output: int = Field(default=2048, ge=2)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion, which owns the projector."""
        return _VICRegCriterion(self, nets["net"].shape.channels[-1])


class _VICRegCriterion(ViewsCriterion):
    def __init__(self, spec: VICReg, width: int) -> None:
        super().__init__()
        hidden = spec.hidden or width
        self.spec = spec
        self.projector = projector(width, hidden, hidden, spec.output, last_bias=False)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; parts: its three terms, before they are weighted."""
        a, b = (self.projector(nets["net"](image).pooled).float() for image in looks(batch[IMAGES]))
        return self.between(*self.whole(a, b))

    def between(self, a: Tensor, b: Tensor) -> Loss:
        """Return the loss of two views' outputs (B, D)."""
        terms = {
            "invariance": (a - b).square().mean(),
            "variance": (too_still(a) + too_still(b)) / 2,
            "covariance": shared_variation(a) + shared_variation(b),
        }
        total = torch.stack([getattr(self.spec, name) * term for name, term in terms.items()]).sum()
        return Loss(total, {name: term.detach() for name, term in terms.items()})
