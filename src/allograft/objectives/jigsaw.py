"""Jigsaw: in which order were the patches of an image laid?

Idea      To put a puzzle of anatomy together one must know its parts and their places.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829 (in 2-D: Noroozi, Favaro, ECCV 2016, arXiv:1603.09246)
Formula   K = 3^d patches, P fixed permutations;  y ~ U{0..P-1},  L = CE(h([f(x_{pi_y(1)}), ..., f(x_{pi_y(K)})]), y)
Streams   images: images only, no target.
Defaults  permutations = 100 (paper).  apart = false: random ones (paper's released code).  jitter = none (paper: 3 of
          128 elements), 1/42 of the shortest axis, at least 1.  hidden = 256 (ours; paper two layers, [2048, 1024]).
          dropout = 0 (ours; paper 0.5).
Differs   1. apart = true takes the classical choice among 2000 random ones: each further permutation differs in most
          places from the order in which patches lie and from all before.
          2. The order in which patches lie is never among the permutations.
          3. Features of a patch are averaged over positions, and the head has no batch norm; the paper's flattens.
Checked   tests/reference/test_patch_tasks.py: permutations are unique, none the identity, and undone by their inverses;
          which patch is laid where, and the loss, equal numpy's in 2-D and 3-D; orders are learnt.
          tests/reference/test_pretext_leaks.py: after training, noise around a constant gives chance, ramps do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.farthest import farthest
from allograft.nets.network import Network
from allograft.objectives.patch_grid import SIDE, PatchCriterion, PatchTask, cells, joined
from allograft.objectives.pretext import answered, pixels

__all__ = ["Jigsaw", "permutations"]

POOL = 2000
"""Random permutations among which the list is chosen (ours)."""


def permutations(count: int, length: int, *, apart: bool) -> Tensor:
    """Return (count, length) different permutations, none of them the identity; always the same for the same arguments.

    Args:
        count: how many, at most length! - 1 and 2000.
        length: of each.
        apart: choose such as differ in many places; otherwise at random.

    Raises:
        ConfigError: there are fewer.
    """
    rng, identity = np.random.default_rng(seed_for("jigsaw", count, length, apart)), np.arange(length)
    drawn = rng.permuted(np.tile(identity, (POOL, 1)), axis=1)
    pool = np.array([one for one in dict.fromkeys(map(tuple, drawn.tolist())) if one != tuple(identity)])
    if len(pool) < count:
        msg = f"jigsaw: {length} patches have {len(pool)} other orders, got permutations {count}. Ask for fewer."
        raise ConfigError(msg)
    if apart:  # of one-hot rows the squared distance is twice the number of places in which permutations differ
        one_hot = np.eye(length)
        pool = pool[farthest(one_hot[pool].reshape(len(pool), -1), one_hot.reshape(1, -1), count, rule="min")]
    return torch.from_numpy(pool[:count])


class Jigsaw(PatchTask, Method):
    """Minimise the cross-entropy of the permutation in which the patches were laid.

    Args:
        permutations: how many are told apart, 2 to 1000.
        apart: choose permutations that differ in many places.
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

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Puzzle(self, nets["net"])


class _Puzzle(PatchCriterion):
    def __init__(self, spec: Jigsaw, net: Network) -> None:
        super().__init__()
        length = SIDE**net.shape.dims
        self.spec = spec
        self.register_buffer("orders", permutations(spec.permutations, length, apart=spec.apart))
        self.head = spec.head(length * net.shape.channels[-1], spec.permutations)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the cross-entropy; parts: accuracy and chance."""
        puzzle, y = self.laid(pixels(batch))
        return answered(self.head(self.embed(nets["net"], puzzle).flatten(1)), y)

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images and the puzzles that are made of them, laid out as a grid."""
        image = pixels(batch)
        return {"image": image, "puzzle": joined(self.laid(image)[0], (SIDE,) * (image.ndim - 2))}

    def laid(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return patches (B, K, C, *p) of images (B, C, *S) in the drawn orders, and which these are, (B,)."""
        orders = self.get_buffer("orders")
        y = torch.randint(len(orders), (len(image),)).to(orders.device)
        return cells(image, SIDE, self.spec.room(image), orders[y].cpu()), y
