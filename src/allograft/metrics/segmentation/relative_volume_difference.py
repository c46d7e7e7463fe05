"""Relative volume difference: | V(P) - V(T) | / max(V(P), V(T)), wherever the two lie.

The larger of the two is the measure, so that the value stays in [0, 1], is 1 for a miss and a false
alarm only, and treats too large and too small alike; where the prediction is the smaller one it is the usual
| V(P) - V(T) | / V(T). Two empty masks give what `empty` says.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.metric import MaskMetric

__all__ = ["RelativeVolumeDifference"]


class RelativeVolumeDifference(MaskMetric):
    """Difference of the volumes as a share of the larger one, in [0, 1], 0 is perfect."""

    name: ClassVar[str] = "relative_volume_difference"
    title: ClassVar[str] = "relative volume difference"
    unit: ClassVar[Literal["", "mm", "mm^d"]] = ""
    larger_is_better: ClassVar[bool] = False
    high: ClassVar[float] = 1.0
    margin: ClassVar[float] = 0.02

    def worst(self, pair: MaskPair) -> float:
        """Return 1."""
        return self.high

    def measure(self, pair: MaskPair) -> float:
        """Return the difference of two masks that both hold something."""
        predicted, truth = pair.predicted_voxels, pair.truth_voxels
        return abs(predicted - truth) / max(predicted, truth)
