"""HD95: the larger of the two directed 95th percentiles of the surface distances, in mm.

Percentiles interpolate linearly. Some tools take one percentile of both directions pooled, which is
never larger. A miss and a false alarm give the diagonal of the image, edge to edge; two empty masks
what `empty` says.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.metric import MaskMetric

__all__ = ["HD95"]


class HD95(MaskMetric):
    """95th percentile Hausdorff distance in mm, >= 0, 0 is perfect."""

    name: ClassVar[str] = "hd95"
    title: ClassVar[str] = "95th percentile Hausdorff distance"
    unit: ClassVar[Literal["", "mm", "mm^d"]] = "mm"
    larger_is_better: ClassVar[bool] = False
    high: ClassVar[float] = float("inf")

    def worst(self, pair: MaskPair) -> float:
        """Return the diagonal of the image in mm."""
        return pair.diagonal_mm

    def measure(self, pair: MaskPair) -> float:
        """Return the distance of two masks that both hold something."""
        return max(float(np.percentile(each, 95)) for each in pair.distances)
