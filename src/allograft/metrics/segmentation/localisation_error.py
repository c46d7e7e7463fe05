"""Localisation error: how far structures lie from where they should be, in mm.

The connected components of prediction and truth are paired with the least total distance between centroids
(`localisation`); the error is the mean over pairs, true ones that were missed and predicted ones that are
not there, the last two counting as the diagonal of the image, edge to edge. Two empty masks give what `empty` says.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from allograft.metrics.segmentation.localisation import centroid_errors
from allograft.metrics.segmentation.mask_pair import MaskPair
from allograft.metrics.segmentation.metric import MaskMetric

__all__ = ["LocalisationError"]


class LocalisationError(MaskMetric):
    """Mean distance of matched centroids in mm, >= 0, 0 is perfect.

    Args:
        empty: what two empty masks give.
        min_mm: predicted components of a smaller volume (mm^3; mm^2 in 2-D) are dropped, >= 0 (0: ours).
    """

    name: ClassVar[str] = "localisation_error"
    title: ClassVar[str] = "localisation error"
    unit: ClassVar[Literal["", "mm", "mm^d"]] = "mm"
    larger_is_better: ClassVar[bool] = False
    high: ClassVar[float] = float("inf")

    min_mm: float = Field(default=0.0, ge=0)

    def worst(self, pair: MaskPair) -> float:
        """Return the diagonal of the image in mm."""
        return pair.diagonal_mm

    def measure(self, pair: MaskPair) -> float:
        """Return the error of two masks that both hold something; components that are too small may leave none."""
        return centroid_errors(pair, within_mm=1.0, min_mm=self.min_mm).penalised_mm
