"""Kernel head: logits from how near an image's features lie to those of known cases."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from allograft.nets.network import Head

__all__ = ["KernelHead"]


class KernelHead(Head):
    """sum_j exp(-gamma ||(x - centre) / scale - a_j||^2) dual_j + bias; it is written, not trained.

    All numbers are buffers, which a procedure fills with `write`; until then the logits are 0.

    Args:
        features: width F of the pooled features.
        outputs: number of logits O.
        anchors: cases N that an image is compared with.
    """

    def __init__(self, features: int, outputs: int, anchors: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("anchors", torch.zeros(anchors, features))
        self.register_buffer("gamma", torch.ones(()))
        self.register_buffer("dual", torch.zeros(anchors, outputs))
        self.register_buffer("bias", torch.zeros(outputs))

    def write(self, **values: Tensor) -> None:
        """Take over centre and scale (F,), anchors (N, F), gamma (), dual (N, O) and bias (O,); all of them at once."""
        own = dict(self.named_buffers())
        assert values.keys() == own.keys(), f"expected {sorted(own)}"
        for name, value in values.items():
            assert own[name].shape == value.shape, (
                f"{name}: expected {tuple(own[name].shape)}, got {tuple(value.shape)}"
            )
            own[name].copy_(value)

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        """Return logits (B, O) for pooled (B, F); `decoded` is not used."""
        centre, scale, anchors, gamma, dual, bias = (
            cast("Tensor", getattr(self, name)) for name in ("centre", "scale", "anchors", "gamma", "dual", "bias")
        )
        x = (pooled - centre) / scale
        squares = x.square().sum(1, keepdim=True) + anchors.square().sum(1) - 2 * x @ anchors.T
        return torch.exp(-gamma * squares.clamp(min=0)) @ dual + bias
