"""Pooling of bags: what K instances say together, over the last axis; padded instances are left out by a mask.

Every function takes values (B, C, K) and a mask (B, K), True where an instance exists; None where all do. Each bag
has at least one instance.

mean        sum_k x_k / K
max         max_k x_k
lse         (1/r) log( (1/K) sum_k exp(r x_k) ): the mean for r -> 0, the maximum for r -> inf
top_k       mean of the k largest
noisy_or    1 - prod_k (1 - p_k): a bag is positive as soon as one instance is
attention   sum_k a_k x_k, a = softmax_k of the instances' scores (Ilse, Tomczak, Welling. 2018. arXiv:1802.04712)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["attention_weights", "log_mean", "lse", "maximum", "mean", "noisy_or", "top_k", "weighted"]

FAINT = -30.0
"""Least logit in a noisy-or: its probability, 1e-13, is nothing, and the gradient stays a number."""


def mean(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean over instances, (B, C)."""
    return x.mean(2) if mask is None else weighted(x, _alike(mask, x))


def maximum(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the largest value of any instance, (B, C)."""
    return _without(x, mask).amax(2)


def lse(x: Tensor, r: float, mask: Tensor | None = None) -> Tensor:
    """Return the log-sum-exp with sharpness r > 0, (B, C): between the mean and the maximum."""
    return (_without(r * x, mask).logsumexp(2) - _count(x, mask).log()) / r


def top_k(x: Tensor, k: int, mask: Tensor | None = None) -> Tensor:
    """Return the mean of the k largest values, of all where a bag has fewer; (B, C)."""
    largest = _without(x, mask).topk(min(k, x.shape[2]), dim=2).values
    taken = torch.arange(largest.shape[2], device=x.device) < _count(x, mask)[..., None]
    return torch.where(taken, largest, torch.zeros_like(largest)).sum(2) / taken.sum(2)


def noisy_or(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the logit of 1 - prod_k (1 - sigmoid(x_k)), (B, C), for logits (B, C, K)."""
    none = nn.functional.logsigmoid(-logits.clamp(min=FAINT))
    if mask is not None:
        none = torch.where(mask[:, None], none, torch.zeros_like(none))
    together = none.sum(2)  # the logarithm of the probability that no instance is positive
    return torch.log(-torch.expm1(together)) - together


def attention_weights(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the softmax of the scores (B, K) over the instances of each bag; rows sum to 1."""
    return _without(scores[:, None], mask)[:, 0].softmax(1)


def weighted(x: Tensor, weights: Tensor) -> Tensor:
    """Return sum_k a_k x_k, (B, C), for weights (B, K); instances of weight 0 are never looked at."""
    kept = torch.where(weights[:, None] > 0, x, torch.zeros_like(x))
    return (kept * weights[:, None]).sum(2)


def log_mean(logs: Tensor, weights: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Return log sum_k a_k exp(x_k), (B, C): the logarithm of mean probabilities; equal weights where none are."""
    if weights is None:
        return _without(logs, mask).logsumexp(2) - _count(logs, mask).log()
    tiny = torch.finfo(weights.dtype).tiny  # the logarithm of 0 has no gradient
    return (_without(logs, mask) + weights.clamp(min=tiny)[:, None].log()).logsumexp(2)


def _alike(mask: Tensor, x: Tensor) -> Tensor:
    """Return equal weights of the instances that exist, (B, K)."""
    return mask.to(x.dtype) / mask.sum(1, keepdim=True)


def _without(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x (B, C, K) with -inf where there is no instance."""
    return x if mask is None else x.masked_fill(~mask[:, None], float("-inf"))


def _count(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the number of instances of each bag, (B, 1)."""
    return x.new_full((len(x), 1), x.shape[2]) if mask is None else mask.sum(1, keepdim=True).to(x.dtype)
