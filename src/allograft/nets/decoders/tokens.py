"""Tokens: the patches of an image from the features of some of them, for masked autoencoding with transformers.

He and others. Masked autoencoders are scalable vision learners. CVPR 2022. arXiv:2111.06377. Each patch that was not
seen stands as one learnt token; all get the sine and cosine of their place and pass some transformer blocks.

Differs: two blocks of the given width (the paper's has eight of 512); no class token; places along any number of axes.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

__all__ = ["Tokens", "places"]

BLOCKS, HEADS = 2, 4
"""Blocks and their heads (ours)."""


class Tokens(nn.Module):
    """From features of seen patches to the elements of all.

    Args:
        features: numbers of a seen patch.
        elements: numbers of a rebuilt patch, channels times elements.
        width: of the blocks; brought up to a multiple of their four heads.
    """

    def __init__(self, features: int, elements: int, *, width: int) -> None:
        super().__init__()
        width = HEADS * -(-width // HEADS)
        self.inside = nn.Linear(features, width)
        self.unseen = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, HEADS, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(BLOCKS)
        )
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, elements)

    def forward(self, seen: Tensor, kept: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Return (B, N, elements) for features (B, n, F) of the patches `kept` (B, n) of N in raster order."""
        rows = torch.arange(len(seen), device=seen.device)[:, None]
        x = self.unseen.to(seen.dtype).expand(len(seen), math.prod(grid), -1).clone()
        x[rows, kept] = self.inside(seen).to(x.dtype)
        x = x + places(grid, x.shape[2]).to(x)
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.out(self.norm(x))
        return found


def places(grid: tuple[int, ...], width: int) -> Tensor:
    """Return (N, width) sines and cosines of the places of a grid in raster order, a share of them for each axis.

    >>> places((2, 3), 8).shape
    torch.Size([6, 8])
    """
    at = torch.tensor(list(itertools.product(*map(range, grid))), dtype=torch.float32)
    each = -(-width // (2 * len(grid)))
    rates = 10000.0 ** (-torch.arange(each) / each)
    angles = at[:, :, None] * rates  # (N, axes, each)
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
