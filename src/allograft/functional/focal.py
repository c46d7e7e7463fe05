"""Focal loss: cross-entropy that turns away from what is already right.

Lin, Goyal, Girshick, He, Dollár. ICCV 2017. arXiv:1708.02002
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["focal"]


def focal(logs: Tensor, target: Tensor, class_weights: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Return -Σ_c u_c q_c (1 - p_c)^gamma log p_c element by element, without averaging; gamma = 0 is cross-entropy.

    Args:
        logs: log-probabilities (B, L, *S).
        target: (B, *S) class indices in [0, L), or q (B, L, *S) in [0, 1].
        class_weights: u, (L,) >= 0.
        gamma: how fast what is right stops to count, >= 0 (paper: 2).

    Returns:
        (B, *S).

    >>> logs = torch.tensor([[0.9, 0.1]]).log()
    >>> round(float(focal(logs, torch.tensor([0]), torch.ones(2))), 6)  # 0.1^2 · 0.105361
    0.001054
    """
    dense = target.ndim == logs.ndim
    own = logs if dense else logs.gather(1, target[:, None])[:, 0]
    # 1 - p without losing digits near p = 1; away from 0, where a power below 1 has no slope.
    rest = (-torch.expm1(own)).clamp(min=torch.finfo(own.dtype).tiny)
    value = -rest.pow(gamma) * own
    return (
        torch.einsum("bl...,bl...,l->b...", value, target.to(logs.dtype), class_weights)
        if dense
        else (value * class_weights[target])
    )
