"""Dice: twice the overlap over the sum of both sizes, 2 |P ∩ T| / (|P| + |T|).

A miss and a false alarm give 0; two empty masks what `empty` says.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.metric import MaskMetric

__all__ = ["Dice"]


class Dice(MaskMetric):
    """Dice coefficient, in [0, 1]."""

    name: ClassVar[str] = "dice"
    title: ClassVar[str] = "Dice coefficient"
    unit: ClassVar[Literal["", "mm", "mm^d"]] = ""
    larger_is_better: ClassVar[bool] = True
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    def measure(self, pair: MaskPair) -> float:
        """Return the Dice coefficient of two masks that both hold something."""
        return 2 * pair.shared_voxels / (pair.predicted_voxels + pair.truth_voxels)
