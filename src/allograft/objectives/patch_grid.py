"""Patch grid: images cut into a grid of small patches, which the encoder sees one by one."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from allograft.contracts import Criterion
from allograft.core.errors import ConfigError
from allograft.nets.network import Network

__all__ = ["PatchCriterion", "cells", "jigsaw_size"]

SMALLEST = 4
"""Elements that a patch has along each axis at least: fewer hold no shape (ours)."""


def jigsaw_size(size: tuple[int, ...], per_side: int, jitter: int) -> tuple[int, ...]:
    """Return the size of a patch: a cell of the grid less the room that it may be moved in.

    Raises:
        ConfigError: too little is left.

    >>> jigsaw_size((128, 128, 128), 3, 3)
    (39, 39, 39)
    """
    found = tuple(n // per_side - jitter for n in size)
    if min(found) < SMALLEST:
        msg = (
            f"images of {size} cut into {per_side} patches along each axis, each with {jitter} elements of room, leave "
            f"patches of {found}; expected {SMALLEST} or more along each. Use larger images, or less jitter."
        )
        raise ConfigError(msg)
    return found


def cells(image: Tensor, per_side: int, jitter: int) -> Tensor:
    """Return patches (B, K, C, *p) of images (B, C, *S) in raster order, each moved by chance within its cell.

    Patches of different cells never share an element.

    Args:
        image: the images.
        per_side: cells along each axis; K is that to the power of the axes.
        jitter: elements of room along each axis, >= 0.
    """
    size = tuple(image.shape[2:])
    patch = jigsaw_size(size, per_side, jitter)
    rows = []
    for place in itertools.product(range(per_side), repeat=len(size)):
        moves = torch.randint(jitter + 1, (len(image), len(size)))
        corners = torch.tensor([p * (n // per_side) for p, n in zip(place, size, strict=True)]) + moves
        rows.append(torch.stack([_cut(x, c.tolist(), patch) for x, c in zip(image, corners, strict=True)]))
    return torch.stack(rows, dim=1)


def _cut(image: Tensor, corner: list[int], size: tuple[int, ...]) -> Tensor:
    return image[(slice(None), *(slice(c, c + n) for c, n in zip(corner, size, strict=True)))]


class PatchCriterion(Criterion):
    """A criterion whose network sees patches."""

    @staticmethod
    def embed(net: Network, patches: Tensor) -> Tensor:
        """Return (B, K, F), the encoder's deepest features of patches (B, K, C, *p), averaged over positions."""
        batch, count = patches.shape[:2]
        deep = net.encode(patches.flatten(0, 1))[-1]
        return deep.flatten(2).mean(2).reshape(batch, count, -1)
