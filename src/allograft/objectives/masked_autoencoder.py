"""Masked autoencoder: rebuild the parts of an image that are hidden.

Idea      Most of an image hidden in blocks can only be told by whoever knows what such images show.
Paper     He, Chen, Xie, Li, Dollar, Girshick. Masked autoencoders are scalable vision learners. CVPR 2022.
          arXiv:2111.06377
Formula   M hides `share` of the blocks by chance;  L = mean over hidden elements of (r(f(x with M filled)) - x')^2,
          x' the image, each block by its own mean and deviation
Streams   images: images only, no target.
Defaults  share = 0.75 (paper; 0.6 is usual for convolutions).  block = none: about 1/14 of the shortest axis (paper:
          16 of 224), at least 4 (ours), such that blocks fit.  per_block = true (paper).  width = 64 (ours; paper 512),
          the largest of the decoder's steps.
Differs   1. Plain vision transformers (timm) read the tokens that are not hidden and no others, as in the paper. Other
          encoders see whole images, hidden blocks filled with a learnt value, as in SimMIM (Xie et al., CVPR 2022,
          arXiv:2111.09886); among them all convolutional ones, in 2-D and 3-D.
          2. The decoder of such tokens has 2 blocks (paper 8); behind other encoders it is a small U-Net.
          3. The positions of the encoder are timm's learnt ones; the paper's are fixed sines.
          4. A block's deviation is that of its elements (the released code divides by one less).
Checked   tests/reference/test_masked_autoencoder.py: the share of hidden blocks is exact; visible elements do not enter
          the loss and hidden ones not the network, neither a convolutional one nor a transformer; the loss, plain and
          per block, equals numpy's in 2-D and 3-D; blocks that do not fit are refused; the loss falls below that of
          guessing the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.hidden_blocks import block_moments, block_size, hidden, spread
from allograft.objectives.pretext import ImagesAlone, pixels
from allograft.objectives.rebuilding import Filled, LeftOut, token_side

__all__ = ["MaskedAutoencoder"]


class MaskedAutoencoder(ImagesAlone, Method):
    """Minimise the squared error on hidden blocks.

    Args:
        share: of the blocks that are hidden, in (0, 1).
        block: elements of a block along each axis, >= 2; None chooses.
        per_block: compare each block less its mean, by its deviation.
        width: largest width of the decoder's steps, or that of its transformer blocks.
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
    block: int | None = Field(default=None, ge=2)
    per_block: bool = True
    width: int = Field(default=64, ge=1)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion."""
        return _Masked(self, nets["net"])


class _Masked(Criterion):
    def __init__(self, spec: MaskedAutoencoder, net: Network) -> None:
        super().__init__()
        self.spec, self.token = spec, token_side(net)
        self.rebuild = LeftOut(net, spec.width) if self.token else Filled(net, spec.width)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the error on hidden elements; part: what guessing each block's mean (or 0) costs."""
        image = pixels(batch)
        out, goal = self.hide(image), self.goal(image)
        error = (self.rebuild(nets["net"], image, out).float() - goal).square()
        over = out.expand_as(error)
        return Loss(error[over].mean(), {"mean_guess": goal.square()[over].mean()})

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images, what is seen of them, and the whole with its hidden parts rebuilt."""
        image = pixels(batch)
        out = self.hide(image)
        made = self.rebuild(nets["net"], image, out).to(image.dtype)
        if self.spec.per_block:
            mean, deviation = block_moments(image, self._block(image))
            made = made * deviation + mean
        seen = self.rebuild.seen(image, out).detach()
        return {"image": image, "seen": seen, "restored": torch.where(out, made.detach(), image)}

    def hide(self, image: Tensor) -> Tensor:
        """Return (B, 1, *S) bool: the hidden elements, other blocks of each image."""
        block = self._block(image)
        grid = tuple(n // b for n, b in zip(image.shape[2:], block, strict=True))
        return spread(hidden(len(image), grid, self.spec.share)[:, None], block).to(image.device)

    def goal(self, image: Tensor) -> Tensor:
        """Return what is to be told of images (B, C, *S)."""
        if not self.spec.per_block:
            return image
        mean, deviation = block_moments(image, self._block(image))
        return (image - mean) / deviation

    def _block(self, image: Tensor) -> tuple[int, ...]:
        return block_size(tuple(image.shape[2:]), self.spec.block, self.token)
