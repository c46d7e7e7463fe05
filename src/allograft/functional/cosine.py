"""Cosine similarity of what two branches say."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from allograft.functional.exact import in_full_precision

__all__ = ["directions", "mean_cosine"]


@in_full_precision
def mean_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean cosine of the rows of a and b, both (B, D)."""
    return (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(1).mean()


@in_full_precision
def directions(z: Tensor) -> Tensor:
    """Return sqrt(D) times the mean deviation of the coordinates of (B, D) outputs of length 1, without gradient.

    Near 1 where images point anywhere, 0 where all say the same: the collapse that methods without negatives fear.
    """
    unit = F.normalize(z.detach(), dim=1)
    return unit.std(0, correction=0).mean() * math.sqrt(z.shape[1])
