"""Masked autoencoder: rebuild the parts of an image that are hidden.

Idea      Most of an image hidden in blocks can only be told by whoever knows what such images show.
Paper     He, Chen, Xie, Li, Dollar, Girshick. Masked autoencoders are scalable vision learners. CVPR 2022.
          arXiv:2111.06377
Formula   M hides `share` of the blocks by chance;  L = mean over hidden elements of (r(f(x with M filled)) - x')^2,
          x' the image, each block by its own mean and deviation
Streams   images: images only, no target.
Defaults  share = 0.75 (paper; 0.6 is usual for convolutions).  block = none (ours): a quarter of the shortest axis at
          most, the largest divisor of the image's size; paper 16 of 224.  per_block = true (paper).  width = 64 (ours),
          the largest of the decoder's steps.
Differs   1. Hidden blocks are filled with a learnt value in place of being left out, as SimMIM does (Xie et al., CVPR
          2022, arXiv:2111.09886), so that convolutional encoders go as well as transformers.
          2. The decoder is a small U-Net over the encoder's levels; the paper's is a transformer.
Checked   tests/reference/test_masked_autoencoder.py: the share of hidden blocks is exact; visible elements do not enter
          the loss and hidden ones not the network; per-block normalisation by numpy; the loss falls below that of
          guessing the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.pretext import IMAGES, ImagesAlone
from allograft.objectives.restoring import Restorer

__all__ = ["MaskedAutoencoder", "block_moments", "hidden"]


def hidden(count: int, grid: tuple[int, ...], share: float) -> Tensor:
    """Return (count, *grid) bool with `share` of the blocks of each image hidden, at least one and never all."""
    blocks = int(torch.tensor(grid).prod())
    number = min(max(1, round(share * blocks)), blocks - 1)
    order = torch.rand(count, blocks).argsort(dim=1)
    found = torch.zeros(count, blocks, dtype=torch.bool)
    return found.scatter_(1, order[:, :number], value=True).reshape(count, *grid)


def block_moments(image: Tensor, block: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of every block of images (B, C, *S), spread over its elements."""
    pool = {1: nn.functional.avg_pool1d, 2: nn.functional.avg_pool2d, 3: nn.functional.avg_pool3d}[image.ndim - 2]
    mean = _spread(pool(image, block), block)
    deviation = _spread(pool((image - mean).square(), block), block).sqrt()
    return mean, deviation


def _spread(grid: Tensor, block: tuple[int, ...]) -> Tensor:
    for axis, times in enumerate(block, grid.ndim - len(block)):
        grid = grid.repeat_interleave(times, dim=axis)
    return grid


class MaskedAutoencoder(ImagesAlone, Method):
    """Minimise the squared error on hidden blocks.

    Args:
        share: of the blocks that are hidden, in (0, 1).
        block: elements of a block along each axis; None chooses.
        per_block: compare each block less its mean, by its deviation.
        width: largest width of the decoder's steps.
    """

    name: ClassVar[str] = "masked_autoencoder"
    paper: ClassVar[Reference] = Reference(
        title="Masked Autoencoders Are Scalable Vision Learners",
        authors=("He", "Chen", "Xie", "Li", "Dollar", "Girshick"),
        year=2022,
        venue="CVPR",
        arxiv="2111.06377",
    )

    share: float = Field(default=0.75, gt=0, lt=1)
    block: int | None = Field(default=None, ge=1)
    per_block: bool = True
    width: int = Field(default=64, ge=1)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Masked(self, nets["net"])


class _Masked(Criterion):
    def __init__(self, spec: MaskedAutoencoder, net: Network) -> None:
        super().__init__()
        self.spec, self.restorer = spec, Restorer(net, most=spec.width)
        self.fill = nn.Parameter(torch.zeros(net.shape.in_channels, *[1] * net.shape.dims))

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the error on hidden elements; part: what guessing each block's mean (or 0) costs."""
        image = batch[IMAGES].image
        assert isinstance(image, Tensor), "pixels were asked for"
        out = self._hide(image)
        goal = self._goal(image)
        error = (self.restorer(nets["net"], torch.where(out, self.fill, image)).float() - goal).square()
        over = out.expand_as(error)
        return Loss(error[over].mean(), {"mean_guess": goal.square()[over].mean()})

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images, what is seen of them, and the whole with its hidden parts rebuilt."""
        image = batch[IMAGES].image
        assert isinstance(image, Tensor), "pixels were asked for"
        out = self._hide(image)
        seen = torch.where(out, self.fill, image)
        made = self.restorer(nets["net"], seen).to(image.dtype)
        if self.spec.per_block:
            mean, deviation = block_moments(image, self._block(image))
            made = made * deviation + mean
        return {"image": image, "seen": seen.detach(), "restored": torch.where(out, made, image)}

    def _block(self, image: Tensor) -> tuple[int, ...]:
        """Return the size of a block.

        Raises:
            ConfigError: the image is no multiple of it, or it leaves a single block.
        """
        size = tuple(image.shape[2:])
        most = max(1, min(size) // 4)
        side = self.spec.block or next(n for n in range(most, 0, -1) if all(axis % n == 0 for axis in size))
        if any(axis % side for axis in size) or all(axis == side for axis in size):
            msg = f"masked_autoencoder: images of {size} cannot be cut into several blocks of {side}; set block."
            raise ConfigError(msg)
        return (side,) * len(size)

    def _hide(self, image: Tensor) -> Tensor:
        """Return (B, 1, *S) bool: the hidden elements."""
        block = self._block(image)
        grid = tuple(n // b for n, b in zip(image.shape[2:], block, strict=True))
        return _spread(hidden(len(image), grid, self.spec.share)[:, None], block).to(image.device)

    def _goal(self, image: Tensor) -> Tensor:
        if not self.spec.per_block:
            return image
        mean, deviation = block_moments(image, self._block(image))
        return (image - mean) / deviation.clamp_min(1e-6)
