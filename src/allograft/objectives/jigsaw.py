"""Jigsaw: in which order were the patches of an image laid?

Idea      To put a puzzle of anatomy together one must know its parts and their places.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829 (in 2-D: Noroozi, Favaro, ECCV 2016, arXiv:1603.09246)
Formula   K = 3^d patches, P fixed permutations;  y ~ U{0..P-1},  L = CE(h([f(x_{pi_y(1)}), ..., f(x_{pi_y(K)})]), y)
Streams   images: images only, no target.
Defaults  permutations = 100 (paper).  apart = false: random ones (paper's released code).  jitter = none (paper: 3 of
          128 elements), 1/42 of the shortest axis, at least 1.  hidden = 256 (ours; paper two layers of 2048, 1024).
Differs   1. apart = true takes the classical choice: each further permutation is that of 200 random ones which differs
          in most places from all before.
          2. The order in which patches lay is never among the permutations.
Checked   tests/reference/test_patch_tasks.py: permutations are unique, none the identity, and undone by their inverses;
          noise around a constant gives chance; another order of the same patches is another answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.patch_grid import PatchCriterion, cells
from allograft.objectives.pretext import IMAGES, ImagesAlone

__all__ = ["Jigsaw", "permutations"]

SIDE, TRIED = 3, 200


def permutations(count: int, length: int, *, apart: bool) -> Tensor:
    """Return (count, length) different permutations, none of them the identity; always the same for the same arguments.

    Args:
        count: how many, at most length! - 1.
        length: of each.
        apart: choose such as differ in many places; otherwise at random.
    """
    rng = np.random.default_rng(seed_for("jigsaw", count, length, apart))
    found = [tuple(range(length))]
    while len(found) <= count:
        tried = {tuple(rng.permutation(length).tolist()) for _ in range(TRIED if apart else 1)} - set(found)
        if tried:
            rows = np.array(found)
            found.append(max(sorted(tried), key=lambda one: int((rows != np.array(one)).sum(1).min())))
    return torch.tensor(found[1:], dtype=torch.long)


class Jigsaw(ImagesAlone, Method):
    """Minimise the cross-entropy of the permutation in which the patches were laid.

    Args:
        permutations: how many are told apart, 2 to 1000.
        apart: choose permutations that differ in many places.
        jitter: elements by which a patch may move in its cell, >= 0; None 1/42 of the shortest axis, at least 1.
        hidden: width of the head's hidden layer.
    """

    name: ClassVar[str] = "jigsaw"
    paper: ClassVar[Reference] = Reference(
        title="3D Self-Supervised Methods for Medical Imaging",
        authors=("Taleb", "Loetzsch", "Danz", "Severin", "Gaertner", "Bergner", "Lippert"),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.03829",
    )

    permutations: int = Field(default=100, ge=2, le=1000)
    apart: bool = False
    jitter: int | None = Field(default=None, ge=0)
    hidden: int = Field(default=256, ge=1)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Puzzle(self, nets["net"])


class _Puzzle(PatchCriterion):
    def __init__(self, spec: Jigsaw, net: Network) -> None:
        super().__init__()
        width, length = net.shape.channels[-1], SIDE**net.shape.dims
        self.jitter = spec.jitter
        self.register_buffer("orders", permutations(spec.permutations, length, apart=spec.apart))
        self.head = nn.Sequential(
            nn.Linear(length * width, spec.hidden), nn.ReLU(), nn.Linear(spec.hidden, spec.permutations)
        )

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the cross-entropy; parts: accuracy and chance."""
        puzzle, y = self._laid(batch[IMAGES])
        logits = self.head(self.embed(nets["net"], puzzle).flatten(1)).float()
        right = (logits.argmax(1) == y).float().mean()
        chance = torch.tensor(1 / logits.shape[1])
        return Loss(F.cross_entropy(logits, y), {"accuracy": right.detach(), "chance": chance})

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images and the puzzles that are made of them, laid out as a grid."""
        image = batch[IMAGES].image
        assert isinstance(image, Tensor), "pixels were asked for"
        return {"image": image, "puzzle": _joined(self._laid(batch[IMAGES])[0], image.ndim - 2)}

    def _laid(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return patches (B, K, C, *p) in the drawn orders, and these, (B,)."""
        image = batch.image
        assert isinstance(image, Tensor), "pixels were asked for"
        jitter = max(1, min(image.shape[2:]) // 42) if self.jitter is None else self.jitter
        grid = cells(image, SIDE, jitter)
        orders = self.get_buffer("orders")
        y = torch.randint(len(orders), (len(image),), device=image.device)
        return torch.stack([one[order] for one, order in zip(grid, orders[y], strict=True)]), y


def _joined(patches: Tensor, dims: int) -> Tensor:
    """Return (B, C, *S) of patches (B, K, C, *p) that lie in raster order."""
    found = patches.reshape(len(patches), *[SIDE] * dims, *patches.shape[2:])
    for _ in range(dims):  # (B, cells.., C, axes..): the first cell axis that is left joins its own axis
        found = torch.cat(found.unbind(1), dim=dims + 1)
    return found
