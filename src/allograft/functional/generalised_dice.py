"""Generalised Dice: one overlap over all classes, each weighed by 1 / volume^2, so that small ones count as much.

Sudre, Li, Vercauteren, Ourselin, Cardoso. DLMIA 2017. arXiv:1707.03237
"""

from __future__ import annotations

import torch
from torch import Tensor

from allograft.functional.overlap import Overlap

__all__ = ["generalised_dice"]


def generalised_dice(sums: Overlap, *, class_weights: Tensor | None = None, smooth: float = 1e-5) -> Tensor:
    """Return (2 Σ_c v_c Σ p t + smooth) / (Σ_c v_c (Σ p + Σ t) + smooth), v_c = u_c / (Σ t_c)^2.

    A class that is not there has no volume to divide by and takes the largest weight of those that
    are, as in MONAI; where none is there the value is 1.

    Args:
        sums: of probabilities and target, not squared.
        class_weights: u, (L,) > 0; None for 1.
        smooth: added above and below, > 0.

    Returns:
        (B,), or () over the batch.
    """
    there = sums.true > 0
    volume = torch.where(there, sums.true, torch.ones_like(sums.true))
    inverse = torch.where(there, volume.square().reciprocal(), torch.zeros_like(volume))
    inverse = torch.where(there, inverse, inverse.amax(-1, keepdim=True))
    if class_weights is not None:
        inverse = inverse * class_weights.to(inverse)
    shared = 2 * (sums.both * inverse).sum(-1) + smooth
    return shared / (((sums.found + sums.true) * inverse).sum(-1) + smooth)
