"""Overlap: what probabilities and a target share, class by class; the sums that every overlap loss is made of.

For class indices no one-hot copy of the target is made: it would hold eight bytes per voxel and
class. Sums run in float32 or wider, whatever the network computes in.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Overlap", "overlap"]


class Overlap(NamedTuple):
    """Sums over space, (B, L), or (L,) over the batch.

    Attributes:
        both: Σ w p t.
        found: Σ w p, of p^2 where squared.
        true: Σ w t, of t^2 where squared.
    """

    both: Tensor
    found: Tensor
    true: Tensor

    def classes(self, first: int) -> Overlap:
        """Return the sums of the classes from number `first` on."""
        return Overlap(self.both[..., first:], self.found[..., first:], self.true[..., first:])


def overlap(
    probabilities: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    batch: bool = False,
    squared: bool = False,
) -> Overlap:
    """Return what probabilities and target share.

    Args:
        probabilities: (B, L, *S) in [0, 1].
        target: (B, *S) class indices in [0, L), or (B, L, *S) in [0, 1] (soft, or regions that overlap).
        weight: (B, *S) >= 0, 0 where an element shall not count; None for 1.
        batch: sum over the cases too.
        squared: p^2 and t^2 in `found` and `true`.
    """
    p = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
    w = None if weight is None else weight.to(p.dtype).flatten(1)
    dense = target.ndim == probabilities.ndim
    t = target.to(p.dtype).flatten(2) if dense else target.flatten(1)
    p = p.flatten(2)
    both = _sum(p * t, w) if dense else _sum_by_class(p.gather(1, t[:, None])[:, 0], t, w, p.shape[1])
    true = _sum(t.square() if squared else t, w) if dense else _sum_by_class(None, t, w, p.shape[1]).to(p.dtype)
    found = _sum(p.square() if squared else p, w)
    return Overlap(both.sum(0), found.sum(0), true.sum(0)) if batch else Overlap(both, found, true)


def _sum(value: Tensor, w: Tensor | None) -> Tensor:
    """Return Σ w v, (B, L), for v (B, L, N) and w (B, N)."""
    return value.sum(2) if w is None else torch.einsum("bln,bn->bl", value, w)


def _sum_by_class(value: Tensor | None, index: Tensor, w: Tensor | None, classes: int) -> Tensor:
    """Return the sums of w v (v None: 1) over the elements of each class, (B, L), for v, w and index (B, N)."""
    terms = torch.ones(index.shape, device=index.device) if value is None else value
    terms = terms if w is None else terms * w
    # Adding millions of small numbers one by one in float32 loses digits; Apple's devices have nothing wider.
    wide = terms if terms.device.type == "mps" else terms.double()
    place = index + classes * torch.arange(len(index), device=index.device)[:, None]
    sums = wide.new_zeros(len(index) * classes).scatter_add(0, place.flatten(), wide.flatten())
    return sums.view(-1, classes).to(terms.dtype)
