"""IoU: intersection over union (Jaccard), |P ∩ T| / |P ∪ T|; Dice = 2 IoU / (1 + IoU).

A miss and a false alarm give 0; two empty masks what `empty` says.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.metric import MaskMetric

__all__ = ["IoU"]


class IoU(MaskMetric):
    """Intersection over union, in [0, 1]."""

    name: ClassVar[str] = "iou"
    title: ClassVar[str] = "intersection over union"
    unit: ClassVar[Literal["", "mm", "mm^d"]] = ""
    larger_is_better: ClassVar[bool] = True
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    def measure(self, pair: MaskPair) -> float:
        """Return the intersection over union of two masks that both hold something."""
        return pair.shared_voxels / (pair.predicted_voxels + pair.truth_voxels - pair.shared_voxels)
