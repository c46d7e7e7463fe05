"""Bags: an image cut into slices or tiles that an encoder sees one by one, and what they say put back in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

__all__ = ["Bagging"]


@dataclass(frozen=True)
class Bagging:
    """How images become bags of instances.

    Args:
        tile: size of a tile along each axis of an image; empty cuts a volume into its slices.
        skip_blank: leave out instances without content, all of whose elements are alike within each channel.
    """

    tile: tuple[int, ...] = ()
    skip_blank: bool = False

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many instances an image of `size` has along each axis; one axis for slices."""
        if not self.tile:
            return size[:1]
        return tuple(-(-n // t) for n, t in zip(size, self.tile, strict=True))

    def cut(self, x: Tensor) -> Tensor:
        """Return the instances (B, K, C, *t) of images (B, C, *S), in the order of the grid.

        Images that are no multiple of the tile grow at the end of an axis by copies of their last elements, less
        than a tile, so that every instance holds something of the image.
        """
        if not self.tile:
            return x.transpose(1, 2)
        x = self._grown(x)
        for axis, step in enumerate(self.tile):
            x = x.unfold(2 + axis, step, step)
        dims = len(self.tile)
        return x.flatten(2, 1 + dims).transpose(1, 2)

    def encode(self, encoder: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> tuple[Tensor, ...]:
        """Return the levels of every instance, (B, c, K, *s); of instances that are left out they are 0.

        Those are not even seen by the encoder, so that statistics of normalisation are of content alone.
        """
        bags = self.cut(x)
        size, flat = bags.shape[:2], bags.flatten(0, 1)
        if not self.skip_blank:
            return tuple(_by_image(level, size) for level in encoder(flat))
        kept = self.present(bags).flatten()
        found = []
        for level in encoder(flat[kept]):
            whole = level.new_zeros(len(flat), *level.shape[1:])
            whole[kept] = level
            found.append(_by_image(whole, size))
        return tuple(found)

    def present(self, bags: Tensor) -> Tensor:
        """Return (B, K), where instances (B, K, C, *t) have content; an image without any keeps all."""
        flat = bags.flatten(3)
        content = (flat.amax(3) > flat.amin(3)).any(2)
        return content | ~content.any(1, keepdim=True)

    def mask(self, instances: Tensor) -> Tensor | None:
        """Return (B, K), which instances count, for their features (B, F, K); None where all do.

        One that was left out has no feature other than 0.
        """
        if not self.skip_blank:
            return None
        said = (instances != 0).any(1)
        return said | ~said.any(1, keepdim=True)

    def spread(self, values: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return values (B, K, *s) of the instances on the grid of the images, (B, *S), smooth inside an instance."""
        inside = self.tile or size[1:]
        mode = "bilinear" if len(inside) == 2 else "trilinear"
        shape = (-1, 1, *values.shape[2:])
        grown = nn.functional.interpolate(values.reshape(shape), size=inside, mode=mode, align_corners=False)
        if not self.tile:
            return grown.reshape(len(values), *size)
        grid = self.grid(size)
        tiles = grown.reshape(len(values), *grid, *inside)
        dims = len(grid)
        order = [0, *(axis for i in range(dims) for axis in (1 + i, 1 + dims + i))]
        padded = tiles.permute(order).reshape(len(values), *(g * t for g, t in zip(grid, inside, strict=True)))
        return padded[(slice(None), *(slice(n) for n in size))]

    def count(self, size: tuple[int, ...]) -> int:
        """Return the number K of instances of an image of `size`."""
        return prod(self.grid(size))

    def _grown(self, x: Tensor) -> Tensor:
        """Return images grown to multiples of the tile."""
        for axis, step in enumerate(self.tile, start=2):
            if lacking := -x.shape[axis] % step:
                last = x.narrow(axis, x.shape[axis] - 1, 1)
                x = torch.cat([x, last.expand(*(lacking if i == axis else -1 for i in range(x.ndim)))], axis)
        return x


def _by_image(level: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return (B, c, K, *s) for a level (B K, c, *s) of the instances of `size` (B, K)."""
    return level.reshape(*size, *level.shape[1:]).transpose(1, 2)
