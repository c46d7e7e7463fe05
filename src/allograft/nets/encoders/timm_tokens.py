"""Tokens of timm's vision transformers: some patches of an image read without the others."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

__all__ = ["leaves_out", "seen_tokens"]


def leaves_out(model: nn.Module) -> bool:
    """Tell whether a network's tokens can be left out: a plain vision transformer, which has a place for it."""
    kind = type(model)
    return f"{kind.__module__}.{kind.__qualname__}" == "timm.models.vision_transformer.VisionTransformer"


def seen_tokens(model: nn.Module, x: Tensor, kept: Tensor) -> Tensor:
    """Return the final features (B, n, F) of the tokens `kept` (B, n) of images (B, C, *S); no other is read.

    Tokens are numbered in raster order; class and register tokens take part and are left out of the answer.
    """
    net = cast("Any", model)
    first = int(net.num_prefix_tokens)

    def keep(_module: nn.Module, _given: object, tokens: Tensor) -> Tensor:
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        return torch.cat([tokens[:, :first], tokens[:, first:][rows, kept]], dim=1)

    with net.patch_drop.register_forward_hook(keep):  # stands behind the positions, in front of the blocks
        found: Tensor = net.forward_features(x)
    return found[:, first:]
