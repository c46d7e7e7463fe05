"""Discriminators: tell two kinds of cases apart by what a network says or sees of them.

`Discriminator` looks at probabilities and image together (objectives/deep_adversarial.py), `RowCritic` at features
(objectives/dann.py, objectives/cdan.py).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from allograft.nets.layers import conv, dropout

__all__ = ["Discriminator", "RowCritic"]


class Discriminator(nn.Module):
    """Probabilities and image to one logit, above 0 for "labelled".

    In a segmentation four steps halve the grid; both inputs have a first convolution of their own, added up. Of
    whole cases, probabilities and features are joined and go through one hidden layer.

    Args:
        dims: 2 or 3 for masks, 0 for probabilities (B, P) and features (B, F).
        inputs: channels of probabilities and of the image.
        width: channels of the first layer.
    """

    def __init__(self, dims: int, inputs: tuple[int, int], width: int) -> None:
        super().__init__()
        rest: list[nn.Module] = [nn.LeakyReLU(0.2)]
        self.says, self.sees = (_layer(dims, channels, width) for channels in inputs)
        if dims == 0:
            rest += [nn.Dropout(0.5)]
        else:
            for _ in range(3):
                rest += [dropout(dims, 0.5), _layer(dims, width, 2 * width), nn.LeakyReLU(0.2)]
                width *= 2
            rest += [nn.Flatten(2), _Mean()]
        self.rest = nn.Sequential(*rest, nn.Linear(width, 1))

    def forward(self, says: Tensor, sees: Tensor) -> Tensor:
        """Return (B,) logits for probabilities (B, P[, *S]) and images (B, C[, *S])."""
        return cast("Tensor", self.rest(self.says(says) + self.sees(sees))).squeeze(1)


def _layer(dims: int, inside: int, width: int) -> nn.Module:
    """Return a convolution that halves the grid, or a linear layer where there is none."""
    return conv(dims, (inside, width), 3, stride=2, bias=True) if dims else nn.Linear(inside, width)


class _Mean(nn.Module):
    """(B, C, N) to (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=2)


class RowCritic(nn.Module):
    """Two hidden layers with ReLU from features to one logit, above 0 for "target".

    A row is a case or a position: with one row for each position this is a critic of 1 x 1 convolutions.

    Args:
        features: width F of a row.
        hidden: width of both layers.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        first, second = nn.Linear(features, hidden), nn.Linear(hidden, hidden)
        self.layers = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, rows: Tensor) -> Tensor:
        """Return (N,) logits for rows (N, F)."""
        return cast("Tensor", self.layers(rows)).squeeze(1)
