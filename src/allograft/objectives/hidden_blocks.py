"""Hidden blocks: images cut into equal blocks, some of which are hidden."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError

__all__ = ["block_moments", "block_size", "hidden", "spread"]

GRID = 224 / 16
"""Blocks along each axis (He and others, CVPR 2022)."""
SMALLEST = 4
"""Elements of a block along each axis where it is chosen (ours)."""
LEAST = 1e-6
"""Added to a block's variance (their released code)."""


def hidden(count: int, grid: tuple[int, ...], share: float) -> Tensor:
    """Return (count, *grid) bool with `share` of the blocks of each image hidden, at least one and never all."""
    blocks = int(torch.tensor(grid).prod())
    number = min(max(1, round(share * blocks)), blocks - 1)
    order = torch.rand(count, blocks).argsort(dim=1)
    found = torch.zeros(count, blocks, dtype=torch.bool)
    return found.scatter_(1, order[:, :number], value=True).reshape(count, *grid)


def block_moments(image: Tensor, block: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of every block of images (B, C, *S), all its channels together, (B, 1, *S).

    The deviation is the root of the variance plus 1e-6, so that blocks of one value stay finite.
    """
    pool = {1: nn.functional.avg_pool1d, 2: nn.functional.avg_pool2d, 3: nn.functional.avg_pool3d}[image.ndim - 2]
    mean = spread(pool(image.mean(1, keepdim=True), block), block)
    variance = spread(pool((image - mean).square().mean(1, keepdim=True), block), block)
    return mean, (variance + LEAST).sqrt()


def spread(grid: Tensor, block: tuple[int, ...]) -> Tensor:
    """Return a grid of blocks (B, C, *grid) on the grid of their elements."""
    for axis, times in enumerate(block, 2):
        grid = grid.repeat_interleave(times, dim=axis)
    return grid


def block_size(size: tuple[int, ...], side: int | None, token: int) -> tuple[int, ...]:
    """Return the size of a block of images of `size`: `side` along each axis, or about 1/14 of the shortest axis.

    Args:
        size: of the images.
        side: None chooses for each axis among what divides it.
        token: what it must be a multiple of, 0 for anything.

    Raises:
        ConfigError: no such block divides the image into several.

    >>> block_size((224, 224), None, 16), block_size((32, 32, 20), None, 0)
    ((16, 16), (4, 4, 4))
    """
    goal, step = max(SMALLEST, min(size) / GRID), max(1, token)
    fits = [[n for n in range(2, axis + 1) if axis % n == 0 and n % step == 0 and side in {None, n}] for axis in size]
    found = tuple(min(each, key=lambda n: abs(n - goal)) if each else 0 for each in fits)
    if not all(found) or found == size:
        multiple = f" and are a multiple of the encoder's patches of {token}" if token else ""
        msg = (
            f"masked_autoencoder: images of {size} cannot be cut into several blocks of {side or 'any size'}; expected "
            f"blocks of 2 elements or more that divide every axis{multiple}. Set block, or other images by "
            "preprocess.size or patches.size."
        )
        raise ConfigError(msg)
    return found
