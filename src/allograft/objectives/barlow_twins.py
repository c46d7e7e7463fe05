"""Barlow Twins: what two views say of a coordinate agrees, and no two coordinates say the same.

Idea      Make the matrix of correlations between the outputs for two views the identity: on the diagonal the views
          agree, off it nothing is said twice. A constant output has no correlations, so it cannot collapse.
Paper     Zbontar, Jing, Misra, LeCun, Deny. Barlow Twins: self-supervised learning via redundancy reduction.
          ICML 2021.  arXiv:2103.03230
Formula   z = g(f(view)),  C_ij = mean over images of the standardised z_1,i z_2,j,
          L = sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2
Streams   images: two looks at each image; no target.
Defaults  redundancy = 0.005 (paper).  hidden = 2048 (ours; paper 8192).  output = 2048 (ours; paper 8192): wider is
          better in the paper, and dearer than a small encoder.
Differs   1. The variance that standardises has 1e-5 added, as batch norm does in the released code; that code's
          redundancy is 0.0051.
          2. Batches are the recipe's; with few images many correlations are there by chance. The paper has 2048.
          3. With several processes correlations are the whole batch's; batch norms see their own process's images.
Checked   tests/reference/test_barlow_twins.py: equals lightly's loss and numpy's corrcoef; zero if and only if the
          correlations are the identity; equal views leave the redundancy alone; the gradient reaches the encoder.
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

__all__ = ["BarlowTwins", "correlations"]

EPSILON = 1e-5
"""Added to variances (released code: batch norm's)."""


@in_full_precision
def correlations(a: Tensor, b: Tensor) -> Tensor:
    """Return (D, D): the correlation over images of each coordinate of a (B, D) with each of b (B, D)."""
    one, two = ((z - z.mean(0)) / (z.var(0, correction=0) + EPSILON).sqrt() for z in (a, b))
    return one.T @ two / len(a)


class BarlowTwins(TwoViews, Method):
    """Minimise the distance of the views' correlations to the identity.

    Args:
        redundancy: weight of what lies off the diagonal, >= 0.
    """

    name: ClassVar[str] = "barlow_twins"
    paper: ClassVar[Reference] = Reference(
        title="Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
        authors=("Zbontar", "Jing", "Misra", "LeCun", "Deny"),
        year=2021,
        venue="ICML",
        arxiv="2103.03230",
    )

    redundancy: float = Field(default=0.005, ge=0)
    hidden: int = Field(default=2048, ge=0)
    output: int = Field(default=2048, ge=2)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion, which owns the projector."""
        return _BarlowCriterion(self, nets["net"].shape.channels[-1])


class _BarlowCriterion(ViewsCriterion):
    def __init__(self, spec: BarlowTwins, width: int) -> None:
        super().__init__()
        hidden = spec.hidden or width
        self.redundancy = spec.redundancy
        self.projector = projector(width, hidden, hidden, spec.output, last_bias=False)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; parts: its two terms, before they are weighted."""
        a, b = (self.projector(nets["net"](image).pooled) for image in looks(batch[IMAGES]))
        return self.between(*self.whole(a, b))

    def between(self, a: Tensor, b: Tensor) -> Loss:
        """Return the loss of two views' outputs (B, D)."""
        found = correlations(a, b)
        diagonal = torch.diagonal(found)
        apart = (1 - diagonal).square().sum()
        double = found.square().sum() - diagonal.square().sum()
        return Loss(apart + self.redundancy * double, {"apart": apart.detach(), "redundant": double.detach()})
