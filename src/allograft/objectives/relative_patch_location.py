"""Relative patch location: where, seen from the middle patch, did the other one lie?

Idea      To say on which side of the liver a patch lies one must know both; anatomy answers, nobody labels.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829 (in 2-D: Doersch, Gupta, Efros, ICCV 2015, arXiv:1505.05192)
Formula   a grid of 3 cells along each axis, K = 3^d - 1;  y ~ U{0..K-1} a cell besides the middle one,
          L = CE(h([f(middle), f(cell_y)]), y)
Streams   images: images only, no target.
Defaults  jitter = none (paper 3 of 128 elements): 1/42 of the shortest axis, at least 1.  hidden = 256 (ours; paper two
          layers, [2048, 1024]).  dropout = 0 (ours; paper 0.5).
Differs   1. Axes need not be equal: each is cut into three.
          2. Features of a patch are averaged over positions, and the head has no batch norm; the paper's flattens.
          3. Images smaller than the paper's leave small patches; the encoder must take them.
          4. All channels are shown; in 2-D Doersch drops colours, which lenses shift more towards the border.
Checked   tests/reference/test_patch_tasks.py: patches of neighbouring cells share no element; which two are shown, and
          the loss, equal numpy's in 2-D and 3-D; the middle is never drawn and all others are; places are learnt.
          tests/reference/test_pretext_leaks.py: after training, noise around a constant gives chance, ramps do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.patch_grid import SIDE, PatchCriterion, PatchTask, cells
from allograft.objectives.pretext import answered, pixels

__all__ = ["RelativePatchLocation"]


class RelativePatchLocation(PatchTask, Method):
    """Minimise the cross-entropy of the place of one patch relative to the middle one."""

    name: ClassVar[str] = "relative_patch_location"
    paper: ClassVar[Reference] = Reference(
        title="3D Self-Supervised Methods for Medical Imaging",
        authors=("Taleb", "Loetzsch", "Danz", "Severin", "Gaertner", "Bergner", "Lippert"),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.03829",
    )

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Pairs(self, nets["net"])


class _Pairs(PatchCriterion):
    def __init__(self, spec: RelativePatchLocation, net: Network) -> None:
        super().__init__()
        self.spec, self.places = spec, SIDE**net.shape.dims - 1
        self.head = spec.head(2 * net.shape.channels[-1], self.places)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the cross-entropy; parts: accuracy and chance."""
        pair, y = self.pairs(pixels(batch))
        return answered(self.head(self.embed(nets["net"], pair).flatten(1)), y)

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images, their middle patch, and the one whose place is asked for."""
        image = pixels(batch)
        pair, _ = self.pairs(image)
        return {"image": image, "middle patch": pair[:, 0], "where was this?": pair[:, 1]}

    def pairs(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the middle patch and another of images (B, C, *S), (B, 2, C, *p), and which it is, (B,)."""
        y = torch.randint(self.places, (len(image),))
        middle = self.places // 2
        place = y + (y >= middle).long()  # the middle one is left out
        both = torch.stack([torch.full_like(y, middle), place], dim=1)
        return cells(image, SIDE, self.spec.room(image), both), y.to(image.device)
