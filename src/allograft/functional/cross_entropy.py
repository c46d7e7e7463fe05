"""Cross-entropies case by case or label by label, for hard and soft targets; means are the caller's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["binary_cross_entropy", "one_hot", "smooth", "soft_cross_entropy"]


def soft_cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return -sum_c w_c q_c log softmax(logits)_c, without averaging.

    Args:
        logits: (B, L) or (B, L, *S).
        target: q of the same shape, in [0, 1], summing to 1 over L.
        class_weights: (L,) >= 0, None for 1.

    Returns:
        (B,) or (B, *S).

    >>> round(float(soft_cross_entropy(torch.tensor([[1.0, 0.5, -1.0]]), torch.tensor([[0.7, 0.2, 0.1]]))), 6)
    0.854957
    """
    surprise = -F.log_softmax(logits, dim=1) * target
    if class_weights is not None:
        surprise = surprise * class_weights.view(1, -1, *[1] * (logits.ndim - 2))
    return surprise.sum(1)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return -t log p - (1 - t) log(1 - p) with p = sigmoid(logits), of any one shape, without averaging."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def one_hot(target: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return (B,) or (B, *S) class indices in [0, classes) as (B, L) or (B, L, *S)."""
    return F.one_hot(target.long(), classes).movedim(-1, 1).to(dtype)


def smooth(target: Tensor, amount: float, ways: int) -> Tensor:
    """Return (1 - amount) target + amount / ways: label smoothing over `ways` outcomes, amount in [0, 1)."""
    return target if amount == 0 else (1 - amount) * target + amount / ways
