"""ASSD: average symmetric surface distance in mm, over the elements of both surfaces together.

A miss and a false alarm give the diagonal of the image, edge to edge; two empty masks what `empty`
says.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.metric import MaskMetric

__all__ = ["ASSD"]


class ASSD(MaskMetric):
    """Average symmetric surface distance in mm, >= 0, 0 is perfect."""

    name: ClassVar[str] = "assd"
    title: ClassVar[str] = "average symmetric surface distance"
    unit: ClassVar[Literal["", "mm", "mm^d"]] = "mm"
    larger_is_better: ClassVar[bool] = False
    high: ClassVar[float] = float("inf")

    def worst(self, pair: MaskPair) -> float:
        """Return the diagonal of the image in mm."""
        return pair.diagonal_mm

    def measure(self, pair: MaskPair) -> float:
        """Return the distance of two masks that both hold something."""
        return float(np.concatenate(pair.distances).mean())
