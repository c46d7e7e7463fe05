"""Patch grid: images cut into a grid of small patches, which the encoder sees one by one."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion
from allograft.core.errors import ConfigError
from allograft.nets.network import Network
from allograft.objectives.pretext import ImagesAlone

__all__ = ["SIDE", "PatchCriterion", "PatchTask", "cells", "joined", "patch_size"]

SIDE = 3
"""Cells along each axis where a task asks for the places of patches (paper)."""
SMALLEST = 4
"""Elements that a patch has along each axis at least: fewer hold no shape (ours)."""

Width = Annotated[int, Field(ge=1)]


class PatchTask(ImagesAlone):
    """Settings of a task that asks for the places of patches, behind hidden layers of its own.

    Args:
        jitter: elements by which a patch may move in its cell, >= 0; None 1/42 of the shortest axis, at least 1, so
            that borders that continue each other give nothing away.
        hidden: width of the head's hidden layer, or of several, in order.
        dropout: behind each hidden layer, in [0, 1).
    """

    jitter: int | None = Field(default=None, ge=0)
    hidden: Width | tuple[Width, ...] = 256
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def room(self, image: Tensor) -> int:
        """Return by how many elements patches of images (B, C, *S) may move."""
        return max(1, min(image.shape[2:]) // 42) if self.jitter is None else self.jitter

    def head(self, width: int, outputs: int) -> nn.Sequential:
        """Return the head: from `width` features to logits."""
        layers: list[nn.Module] = []
        for hidden in (self.hidden,) if isinstance(self.hidden, int) else self.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(self.dropout)]
            width = hidden
        return nn.Sequential(*layers, nn.Linear(width, outputs))


def patch_size(size: tuple[int, ...], per_side: int, jitter: int) -> tuple[int, ...]:
    """Return the size of a patch: a cell of the grid less the room that it may be moved in.

    Raises:
        ConfigError: too little is left.

    >>> patch_size((128, 128, 128), 3, 3)
    (39, 39, 39)
    """
    found = tuple(n // per_side - jitter for n in size)
    if min(found) < SMALLEST:
        msg = (
            f"images of {size} cut into {per_side} patches along each axis, each with {jitter} elements of room, leave "
            f"patches of {found}; expected {SMALLEST} or more along each. Use larger images (preprocess.size or "
            "patches.size), fewer patches along each axis, or less jitter."
        )
        raise ConfigError(msg)
    return found


def cells(image: Tensor, per_side: int, jitter: int, places: Tensor | None = None) -> Tensor:
    """Return patches (B, K, C, *p) of images (B, C, *S), each moved by chance within its cell.

    Patches of different cells never share an element.

    Args:
        image: the images.
        per_side: cells along each axis.
        jitter: elements of room along each axis, >= 0.
        places: (B, K) numbers of the cells that are wanted of each image, in raster order; None all of them.
    """
    size, dims = tuple(image.shape[2:]), image.ndim - 2
    patch = patch_size(size, per_side, jitter)
    if places is None:
        places = torch.arange(per_side**dims).expand(len(image), -1)
    grid = torch.stack(torch.unravel_index(places, (per_side,) * dims), dim=-1)  # (B, K, dims)
    corners = grid * torch.tensor([n // per_side for n in size]) + torch.randint(jitter + 1, grid.shape)
    windows = image
    for axis, length in enumerate(patch, 2):
        windows = windows.unfold(axis, length, 1)
    rows = torch.arange(len(image), device=image.device)[:, None]
    at: tuple[Tensor | slice, ...] = (rows, slice(None), *corners.to(image.device).unbind(-1))
    return windows[at]


def joined(patches: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return images (B, C, *S) of patches (B, K, C, *p) that lie on a grid in raster order."""
    found = patches.reshape(len(patches), *grid, *patches.shape[2:])
    for _ in grid:  # (B, cells.., C, axes..): the first axis of cells that is left joins its own axis
        found = torch.cat(found.unbind(1), dim=len(grid) + 1)
    return found


class PatchCriterion(Criterion):
    """A criterion whose network sees patches."""

    @staticmethod
    def embed(net: Network, patches: Tensor) -> Tensor:
        """Return (B, K, F), the encoder's deepest features of patches (B, K, C, *p), averaged over positions.

        Raises:
            ConfigError: the encoder does not take images of the patches' size.
        """
        batch, count = patches.shape[:2]
        try:
            deep = net.encode(patches.flatten(0, 1))[-1]
        except ConfigError as error:
            msg = (
                f"the pretext task shows the encoder patches of {tuple(patches.shape[3:])}, parts of the images: "
                f"{error} Here that means other images (preprocess.size, patches.size), patches a side or jitter."
            )
            raise ConfigError(msg) from error
        return deep.flatten(2).mean(2).reshape(batch, count, -1)
