"""Rotation: tell by which quarter turn an image was turned.

Idea      To see how an image was turned one must know what is in it and how that usually stands: anatomy has an up
          and a down, so a scan labels itself.
Paper     Taleb, Loetzsch, Danz, Severin, Gaertner, Bergner, Lippert. 3D self-supervised methods for medical imaging.
          NeurIPS 2020.  arXiv:2006.03829 (in 2-D: Gidaris, Singh, Komodakis, ICLR 2018, arXiv:1803.07728)
Formula   y ~ U{0..K-1},  L = CE(h(f(turn_y(x))), y).  In 3-D K = 10: as it is; 90, 180 and 270 degrees about each of
          the three axes. In 2-D K = 4.
Streams   images: images only, no target.
Defaults  no settings.
Differs   1. The turn of a case is drawn in each step; the released code draws once for each case and epoch.
          2. An image is turned as a cube (square): where axes differ in length, the middle of the longer ones is seen,
          for all turns alike, since a change of shape would tell the turn (so does the released code, in 2-D).
          3. The head is the network's plain linear one on pooled features; the paper's has two hidden layers.
          4. Where elements are longer along one axis (thick slices), their texture tells which axis was turned, here
          as in the paper: give volumes equal spacing (preprocess.spacing).
Checked   tests/reference/test_rotation.py: the turns are the listed ones by numpy, in 2-D and 3-D, and those of a cube
          of 27 numbers are different and proper and undone by their inverses; the loss is numpy's cross-entropy of what
          the network says of turned images; ramps are learnt. tests/reference/test_pretext_leaks.py: after training on
          noise around a constant, also through the preset "views", held-out images give chance, and marked ones do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.pretext import ImagesAlone, answered, pixels

__all__ = ["Rotation", "turn", "turns"]

HEAD = "rotation"

Turn = tuple[int, tuple[int, int]]


def turns(dims: int) -> tuple[Turn, ...]:
    """Return the classes in order: quarter turns and the axes of the plane (counted from the first axis of space)."""
    if dims == 2:
        return tuple((k, (0, 1)) for k in range(4))
    planes = ((0, 1), (1, 2), (0, 2))
    each = ((1, 2, 3), (3, 2, 1), (3, 2, 1))
    return ((0, (0, 1)), *((k, plane) for plane, ks in zip(planes, each, strict=True) for k in ks))


def turn(image: Tensor, y: int) -> Tensor:
    """Return images (B, C, *S) turned as class `y` says; their axes are of one length."""
    k, (a, b) = turns(image.ndim - 2)[y]
    return torch.rot90(image, k, (a + 2, b + 2))


class Rotation(ImagesAlone, Method):
    """Minimise the cross-entropy of the turn that each image was given."""

    name: ClassVar[str] = "rotation"
    paper: ClassVar[Reference] = Reference(
        title="3D Self-Supervised Methods for Medical Imaging",
        authors=("Taleb", "Loetzsch", "Danz", "Severin", "Gaertner", "Bergner", "Lippert"),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.03829",
    )

    def tasks(self, dims: int) -> Mapping[str, Task]:
        """Return a head of one output for each turn."""
        names = tuple(f"{90 * k} deg in {plane[0]}{plane[1]}" for k, plane in turns(dims))
        return {HEAD: Task(kind="multiclass", classes=names, head=HEAD)}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _RotationCriterion(len(turns(nets["net"].shape.dims)))


class _RotationCriterion(Criterion):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the cross-entropy; parts: accuracy and chance."""
        shown, y = self.turned(pixels(batch))
        return answered(nets["net"](shown).logits[HEAD], y)

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images and their turned copies."""
        image = pixels(batch)
        return {"image": middle(image), "turned": self.turned(image)[0]}

    def turned(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the middle cubes of images (B, C, *S), each turned by chance, and the classes (B,)."""
        cube = middle(image)
        y = torch.randint(self.classes, (len(cube),)).to(cube.device)
        shown = torch.empty_like(cube)
        for k in range(self.classes):
            shown[y == k] = turn(cube[y == k], k)
        return shown, y


def middle(image: Tensor) -> Tensor:
    """Return the middle of images (B, C, *S), as long along every axis as along the shortest.

    Raises:
        ConfigError: an axis has a single element.
    """
    side = min(image.shape[2:])
    if side < 2:
        msg = f"rotation: images of {tuple(image.shape[2:])} look the same however they are turned. Use larger ones."
        raise ConfigError(msg)
    for axis, length in enumerate(image.shape[2:], 2):
        image = image.narrow(axis, (length - side) // 2, side)
    return image
