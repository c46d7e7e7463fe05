"""Soft Dice: overlap of probabilities with a target, differentiable; the same code in 2-D and 3-D."""

from __future__ import annotations

from torch import Tensor

from allograft.functional.overlap import Overlap, overlap

__all__ = ["dice_of", "soft_dice"]


def soft_dice(
    probabilities: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    batch: bool = False,
    squared: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """Return (2 Σ w p t + smooth) / (Σ w p + Σ w t + smooth), sums over space.

    A class that is neither predicted nor true gives 1.

    Args:
        probabilities: (B, L, *S) in [0, 1].
        target: (B, *S) class indices in [0, L), or (B, L, *S) in [0, 1] (soft, or regions that overlap).
        weight: (B, *S) >= 0, 0 where an element shall not count; None for 1.
        batch: sum over the cases too.
        squared: p^2 and t^2 in the denominator.
        smooth: added above and below, > 0.

    Returns:
        (B, L), or (L,) over the batch.

    >>> import torch
    >>> p = torch.tensor([[[0.8, 0.4], [0.2, 0.6]]])
    >>> soft_dice(p, torch.tensor([[0, 1]]), smooth=1e-15)
    tensor([[0.7273, 0.6667]])
    """
    sums = overlap(probabilities, target, weight=weight, batch=batch, squared=squared)
    return dice_of(sums, smooth=smooth)


def dice_of(sums: Overlap, *, smooth: float = 1e-5) -> Tensor:
    """Return the soft Dice of sums that are there already, (B, L) or (L,)."""
    return (2 * sums.both + smooth) / (sums.found + sums.true + smooth)
