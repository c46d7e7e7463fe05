"""Tversky index: an overlap in which false alarms and misses cost differently.

Salehi, Erdogmus, Gholipour. MLMI 2017. arXiv:1706.05721
"""

from __future__ import annotations

from torch import Tensor

from allograft.functional.overlap import Overlap

__all__ = ["tversky"]


def tversky(sums: Overlap, *, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1e-5) -> Tensor:
    """Return (TP + smooth) / (TP + alpha FP + beta FN + smooth), soft counts; alpha = beta = 1/2 is Dice.

    Args:
        sums: of probabilities and target, not squared.
        alpha: cost of a false alarm, >= 0 (paper: 0.3).
        beta: cost of a miss, >= 0 (paper: 0.7).
        smooth: added above and below, > 0.

    Returns:
        (B, L), or (L,) over the batch.

    >>> import torch
    >>> from allograft.functional.overlap import overlap
    >>> sums = overlap(torch.tensor([[[0.8, 0.4], [0.2, 0.6]]]), torch.tensor([[0, 1]]))
    >>> tversky(sums, alpha=0, beta=1, smooth=1e-15)  # recall
    tensor([[0.8000, 0.6000]])
    """
    wrong = alpha * (sums.found - sums.both) + beta * (sums.true - sums.both)
    return (sums.both + smooth) / (sums.both + wrong + smooth)
