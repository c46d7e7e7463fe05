"""Voxel head: one logit per class for every element, a 1x1 convolution of the decoded features."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from allograft.nets.layers import conv
from allograft.nets.network import VoxelHead

__all__ = ["PointwiseHead"]


class PointwiseHead(VoxelHead):
    """Dropout of whole channels and one 1x1 convolution; weights start N(0, 0.01), bias 0.

    Args:
        dims: 2 or 3.
        features: channels C of the decoder.
        outputs: number of logits O.
        dropout: probability of dropping a channel in training, in [0, 1).
    """

    def __init__(self, dims: int, features: int, outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout) if dims == 2 else nn.Dropout3d(dropout)
        self.conv = conv(dims, (features, outputs), 1, bias=True)
        nn.init.normal_(cast("Tensor", self.conv.weight), std=0.01)
        nn.init.zeros_(cast("Tensor", self.conv.bias))

    def project(self, decoded: Tensor) -> Tensor:
        """Return logits (B, O, *S) for features (B, C, *S)."""
        logits: Tensor = self.conv(self.dropout(decoded))
        return logits

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        """Return logits (B, O, *S); `pooled` is not used."""
        assert decoded is not None, "a voxel head stands behind a decoder"
        return self.project(decoded)
