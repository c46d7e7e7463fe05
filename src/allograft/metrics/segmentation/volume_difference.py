"""Volume difference: | V(P) - V(T) | in mm^3 (mm^2 in 2-D), wherever the two lie.

A miss and a false alarm give the volume of the whole image, not the volume of the one mask: else an
empty prediction would beat one that is more than twice too large. Two empty masks give what `empty`
says. Read it beside Dice: two masks that do not touch may differ by 0.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.metric import MaskMetric

__all__ = ["VolumeDifference"]


class VolumeDifference(MaskMetric):
    """Absolute difference of the volumes in mm^3 (mm^2), >= 0, 0 is perfect."""

    name: ClassVar[str] = "volume_difference"
    title: ClassVar[str] = "absolute volume difference"
    unit: ClassVar[Literal["", "mm", "mm^d"]] = "mm^d"
    larger_is_better: ClassVar[bool] = False
    high: ClassVar[float] = float("inf")

    def worst(self, pair: MaskPair) -> float:
        """Return the volume of the image in mm^3 (mm^2)."""
        return pair.image_mm

    def measure(self, pair: MaskPair) -> float:
        """Return the difference of two masks that both hold something."""
        return abs(pair.predicted_voxels - pair.truth_voxels) * pair.voxel_mm
