"""Contrastive losses: what belongs together is near, everything else is far."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from allograft.functional.exact import in_full_precision

__all__ = ["found", "group_codes", "info_nce", "nt_xent", "queue_nce"]


@in_full_precision
def nt_xent(a: Tensor, b: Tensor, temperature: float, barred: Tensor | None = None) -> Tensor:
    """Return the normalised-temperature cross-entropy of two views (Chen et al., ICML 2020).

    The mean over all 2 B views of -log( exp(s(i, partner) / T) / sum over all others of exp(s(i, j) / T) ), where s is
    the cosine.

    Args:
        a: (B, D) first views, B >= 2.
        b: (B, D) second views, in the same order.
        temperature: T > 0.
        barred: (B, B) bool, pairs of images that are no negatives of each other (the same patient); its diagonal does
            not matter.
    """
    z = F.normalize(torch.cat([a, b]), dim=1)
    logits = z @ z.T / temperature
    count = len(a)
    self_ = torch.eye(2 * count, dtype=torch.bool, device=z.device)
    partner = torch.arange(2 * count, device=z.device).roll(count)
    out = self_
    if barred is not None:
        out = barred.repeat(2, 2)
        out[torch.arange(2 * count, device=z.device), partner] = False
        out = out | self_
    return F.cross_entropy(_without(logits, out), partner)


@torch.no_grad()
@in_full_precision
def found(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Return "accuracy", the share of views (B, D) whose nearest other view is their partner, and "chance"."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    near = (z @ z.T).fill_diagonal_(-2).argmax(1)
    right = near == torch.arange(len(z), device=z.device).roll(len(a))
    return {"accuracy": right.float().mean(), "chance": torch.tensor(1 / (len(z) - 1))}


@in_full_precision
def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Return -mean_i log( exp(q_i . k_i / T) / sum_j exp(q_i . k_j / T) ) of (N, D) queries and (M, D) keys, M >= N.

    The i-th key belongs to the i-th query, the others are negatives. Nothing is normalised here.
    """
    logits = queries @ keys.T / temperature
    return F.cross_entropy(logits, torch.arange(len(queries), device=queries.device))


@in_full_precision
def queue_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float, barred: Tensor | None = None) -> Tensor:
    """Return -mean_i log( exp(q_i . k_i / T) / (exp(q_i . k_i / T) + sum_j exp(q_i . n_j / T)) ), n_j from a queue.

    He et al., CVPR 2020, arXiv:1911.05722. Nothing is normalised here.

    Args:
        query: (B, D).
        key: (B, D), in the same order.
        queue: (Q, D) negatives.
        temperature: T > 0.
        barred: (B, Q) bool, entries that are no negatives of an image (the same patient).
    """
    negatives = query @ queue.T / temperature
    if barred is not None:
        negatives = _without(negatives, barred)
    logits = torch.cat([(query * key).sum(1, keepdim=True) / temperature, negatives], 1)
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def _without(logits: Tensor, out: Tensor) -> Tensor:
    """Return logits where pairs that do not count have no share of a softmax, in any precision."""
    return logits.masked_fill(out, torch.finfo(logits.dtype).min)


def group_codes(groups: Sequence[str], device: torch.device | None = None) -> Tensor:
    """Return (B,) numbers >= 0 that stand for groups, the same in every process and run.

    >>> bool(group_codes(["p1"]) == group_codes(["p1"])), bool(group_codes(["p1"]) == group_codes(["p2"]))
    (True, False)
    """
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in groups]
    return torch.tensor([int.from_bytes(digest) >> 1 for digest in digests], device=device)
