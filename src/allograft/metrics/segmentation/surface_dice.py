"""Surface Dice: share of both surfaces that lies within a tolerance of the other, in mm.

Elements count alike; implementations that weigh them by their area differ where the spacing is not the same along
all axes. A miss and a false alarm give 0; two empty masks what `empty` says.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.metric import MaskMetric

__all__ = ["SurfaceDice"]


class SurfaceDice(MaskMetric):
    """Surface Dice, in [0, 1].

    Args:
        empty: what two empty masks give.
        tolerance_mm: distance up to which a surface element is right, >= 0 (1 mm: ours; it should be
            the spread between the experts who draw this structure).
    """

    name: ClassVar[str] = "surface_dice"
    title: ClassVar[str] = "surface Dice"
    unit: ClassVar[Literal["", "mm", "mm^d"]] = ""
    larger_is_better: ClassVar[bool] = True
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    tolerance_mm: float = Field(default=1.0, ge=0)

    def measure(self, pair: MaskPair) -> float:
        """Return the share of two surfaces that are both there."""
        # Distances are square roots: a distance that equals the tolerance must not fail by its last bit.
        within = np.concatenate(pair.distances) <= self.tolerance_mm * (1 + 1e-9)
        return float(within.mean())
