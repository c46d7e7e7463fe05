"""Domain loss: how badly a critic tells two domains apart."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

__all__ = ["ToldApart", "told_apart"]


class ToldApart(NamedTuple):
    """The loss () and the share of rows that were told right, (), in [0, 1], a mean over domains; 0.5 is chance."""

    loss: Tensor
    accuracy: Tensor


def told_apart(source: Tensor, target: Tensor, weights: tuple[Tensor, Tensor] | None = None) -> ToldApart:
    """Return the binary cross-entropy of a critic's logits, each domain counting half whatever its size.

    Args:
        source: (N,) logits, below 0 where the critic is right.
        target: (M,) logits, above 0 where it is right.
        weights: of the rows of source and target, > 0; None for 1.
    """
    both = F.softplus(source), F.softplus(-target)
    if weights is None:
        found = [each.mean() for each in both]
    else:
        found = [(each * own).sum() / own.sum() for each, own in zip(both, weights, strict=True)]
    right = (source < 0).float().mean() + (target > 0).float().mean()
    return ToldApart((found[0] + found[1]) / 2, (right / 2).detach())
