"""Relative patch location: where, seen from the middle patch, did the other one lie?

Idea      To say on which side of the liver a patch lies one must know both; anatomy answers, nobody labels.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829 (in 2-D: Doersch, Gupta, Efros, ICCV 2015, arXiv:1505.05192)
Formula   a grid of 3 cells along each axis, K = 3^d - 1;  y ~ U{0..K-1} a cell besides the middle one,
          L = CE(h([f(middle), f(cell_y)]), y)
Streams   images: images only, no target.
Defaults  jitter = none (paper 3 of 128 elements): 1/42 of the shortest axis, at least 1.  hidden = 256 (ours; paper two
          layers of 2048 and 1024).  dropout = 0 (ours; paper 0.5).
Differs   1. Axes need not be equal: each is cut into three.
          2. Images smaller than the paper's leave small patches; the encoder must take them.
Checked   tests/reference/test_patch_tasks.py: patches of neighbouring cells share no element, the middle is never
          drawn and all others are; noise around a constant gives chance; the order of the pair matters.
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
from allograft.nets.network import Network
from allograft.objectives.patch_grid import PatchCriterion, cells
from allograft.objectives.pretext import IMAGES, ImagesAlone

__all__ = ["RelativePatchLocation"]

SIDE = 3


class RelativePatchLocation(ImagesAlone, Method):
    """Minimise the cross-entropy of the place of one patch relative to the middle one.

    Args:
        jitter: elements by which a patch may move in its cell, >= 0; None 1/42 of the shortest axis, at least 1, so
            that borders that continue each other give nothing away.
        hidden: width of the head's hidden layer.
        dropout: in front of the head's output, in [0, 1).
    """

    name: ClassVar[str] = "relative_patch_location"
    paper: ClassVar[Reference] = Reference(
        title="3D Self-Supervised Methods for Medical Imaging",
        authors=("Taleb", "Loetzsch", "Danz", "Severin", "Gaertner", "Bergner", "Lippert"),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.03829",
    )

    jitter: int | None = Field(default=None, ge=0)
    hidden: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Pairs(self, nets["net"])


class _Pairs(PatchCriterion):
    def __init__(self, spec: RelativePatchLocation, net: Network) -> None:
        super().__init__()
        width, self.places = net.shape.channels[-1], SIDE**net.shape.dims - 1
        self.jitter = spec.jitter
        layers = (nn.Linear(2 * width, spec.hidden), nn.ReLU(), nn.Dropout(spec.dropout))
        self.head = nn.Sequential(*layers, nn.Linear(spec.hidden, self.places))

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the cross-entropy; parts: accuracy and chance."""
        pair, y = self._pairs(batch[IMAGES])
        logits = self.head(self.embed(nets["net"], pair).flatten(1)).float()
        right = (logits.argmax(1) == y).float().mean()
        return Loss(F.cross_entropy(logits, y), {"accuracy": right.detach(), "chance": torch.tensor(1 / self.places)})

    def _pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the middle patch and another, (B, 2, C, *p), and which it is, (B,)."""
        image = batch.image
        assert isinstance(image, Tensor), "pixels were asked for"
        jitter = max(1, min(image.shape[2:]) // 42) if self.jitter is None else self.jitter
        grid = cells(image, SIDE, jitter)
        y = torch.randint(self.places, (len(image),), device=image.device)
        middle = self.places // 2
        place = y + (y >= middle).long()  # the middle one is left out
        return torch.stack([grid[:, middle], grid[torch.arange(len(image)), place]], dim=1), y
