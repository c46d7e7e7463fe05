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
          for all turns alike, since a change of shape would tell the turn.
          3. The head is the network's plain linear one on pooled features; the paper's has two hidden layers.
Checked   tests/reference/test_rotation.py: the ten turns of a cube of 27 numbers are different and proper and undone
          by their inverses, 2-D equals torch.rot90; images without an up and down give chance; the gradient reaches
          the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES, images

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
    """Return an image (C, *S) turned as class `y` says; its axes are of one length."""
    k, (a, b) = turns(image.ndim - 1)[y]
    return torch.rot90(image, k, (a + 1, b + 1))


class Rotation(Method):
    """Minimise the cross-entropy of the turn that each image was given."""

    name: ClassVar[str] = "rotation"
    paper: ClassVar[Reference] = Reference(
        title="3D Self-Supervised Methods for Medical Imaging",
        authors=("Taleb", "Loetzsch", "Danz", "Severin", "Gaertner", "Bergner", "Lippert"),
        year=2020,
        venue="NeurIPS",
        arxiv="2006.03829",
    )

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return one stream, "images"."""
        return images()

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
        shown, y = self._turned(batch[IMAGES])
        logits = nets["net"](shown).logits[HEAD]
        loss = F.cross_entropy(logits, y)
        right = (logits.argmax(1) == y).float().mean()
        return Loss(loss, {"accuracy": right.detach(), "chance": torch.tensor(1 / self.classes)})

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images and their turned copies."""
        image = batch[IMAGES].image
        assert isinstance(image, Tensor), "pixels were asked for"
        return {"image": middle(image), "turned": self._turned(batch[IMAGES])[0]}

    def _turned(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the middle cubes of the images, each turned by chance, and the classes (B,)."""
        image = batch.image
        assert isinstance(image, Tensor), "pixels were asked for"
        cube = middle(image)
        y = torch.randint(self.classes, (len(cube),), device=cube.device)
        return torch.stack([turn(one, int(k)) for one, k in zip(cube, y, strict=True)]), y


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
