"""Sinkhorn-Knopp: soft assignments of which every prototype gets an equal share.

Cuturi. Sinkhorn distances. NeurIPS 2013. arXiv:1306.0895; as used by Caron et al., NeurIPS 2020, arXiv:2006.09882
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["sinkhorn"]


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Return codes (B, K) for scores (B, K): exp(scores / epsilon) scaled until every prototype gets B / K.

    Worked in logarithms, so that no score is too large. Rows sum to 1 exactly; columns sum to B / K in the limit of
    many iterations. No gradient passes.

    Args:
        scores: similarity of B images and K prototypes.
        epsilon: entropy of the codes, > 0; larger ones are softer.
        iterations: scalings of columns and rows, >= 1.

    >>> sinkhorn(torch.tensor([[9.0, 0.0], [9.0, 0.0]])).tolist()  # both may not take the first
    [[0.5, 0.5], [0.5, 0.5]]
    """
    codes = scores.float() / epsilon
    images, prototypes = codes.shape
    for _ in range(iterations):
        codes = codes - codes.logsumexp(0, keepdim=True) + math.log(images / prototypes)
        codes = codes - codes.logsumexp(1, keepdim=True)
    return codes.exp()
