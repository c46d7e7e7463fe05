"""Perturbations of features: what a prediction should survive; every draw is torch's own.

Ouali, Hudelot, Tami. Semi-supervised semantic segmentation with cross-consistency training. CVPR 2020.
arXiv:2003.09005
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["channel_dropout", "feature_dropout", "feature_noise"]


def feature_noise(x: Tensor, spread: float = 0.3) -> Tensor:
    """Return x (1 + n), n uniform in [-spread, spread] for each channel and position, the same for all cases.

    Args:
        x: (B, C, *S).
        spread: >= 0.
    """
    noise = torch.empty(x.shape[1:], device=x.device, dtype=x.dtype).uniform_(-spread, spread)
    return x * (1 + noise)


def feature_dropout(x: Tensor, low: float = 0.7, high: float = 0.9) -> Tensor:
    """Return x without its most active positions: those whose mean over channels reaches a share of the largest.

    The share is drawn once, uniform in [low, high]. Features of a single position stay as they are, they have no
    other to lean on.

    Args:
        x: (B, C, *S).
        low: smallest share, >= 0.
        high: largest share, >= low.
    """
    if x.shape[2:].numel() == 1:
        return x
    active = x.mean(dim=1, keepdim=True)
    share = torch.empty((), device=x.device, dtype=x.dtype).uniform_(low, high)
    largest = active.flatten(1).amax(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    return x * (active < largest * share)


def channel_dropout(x: Tensor, rate: float = 0.5) -> Tensor:
    """Return x with whole channels of single cases dropped and the rest scaled up.

    Args:
        x: (B, C, *S).
        rate: probability, in [0, 1].
    """
    return x * nn.functional.dropout(torch.ones_like(x[(slice(None), slice(None), *[slice(1)] * (x.ndim - 2))]), rate)
