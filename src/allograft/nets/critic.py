"""Critic: scores features or masks; the difference of its mean scores tells two domains apart."""

from __future__ import annotations

import itertools
from typing import cast

from torch import Tensor, nn

from allograft.nets.layers import conv

__all__ = ["Critic"]


class Critic(nn.Module):
    """Three layers with leaky ReLU, a mean over positions, and a score without bound; nothing is normalised.

    Args:
        dims: 2 or 3 for maps (B, C, *S), whose grid each layer halves, 0 for rows (B, C).
        inputs: channels C.
        width: channels of the first layer, doubled by each after it.
    """

    def __init__(self, dims: int, inputs: int, width: int) -> None:
        super().__init__()
        widths = [inputs, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for inside, outside in itertools.pairwise(widths):
            layer = conv(dims, (inside, outside), 3, stride=2, bias=True) if dims else nn.Linear(inside, outside)
            layers += [layer, nn.LeakyReLU(0.2)]
        self.layers, self.score = nn.Sequential(*layers), nn.Linear(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B,) scores."""
        found: Tensor = self.layers(x)
        return cast("Tensor", self.score(found.flatten(2).mean(2) if found.ndim > 2 else found)).squeeze(1)
