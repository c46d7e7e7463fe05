"""MaskMetric: what every segmentation metric is, and the one place that answers for empty masks.

A miss can never improve a score. Where one mask is empty and the other is not, the value is the
metric's worst, as a number: a NaN would be dropped from the mean, and the worse of two models would win. Where
both are empty there is nothing to measure; the field `empty` says what then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, final

import numpy as np
import numpy.typing as npt

from allograft.core.config import Config
from allograft.metrics.segmentation.mask_pair import MaskPair

__all__ = ["Empty", "MaskMetric"]

Empty = Literal["skip", "perfect"]
"""Prediction and truth both empty: NaN, to be counted; or the best value."""


class MaskMetric(Config):
    """One number for one structure of one case; a metric says `measure`, and `worst` if larger is worse.

    Args:
        empty: what two empty masks give: "skip" NaN, "perfect" the best value.

    Attributes:
        name: name in study files and tables.
        title: name in sentences.
        unit: "" (a share), "mm" or "mm^d" (mm^2 in 2-D, mm^3 in 3-D); pixels where the spacing is in pixels.
        larger_is_better: its direction.
        low: smallest possible value.
        high: largest possible value.
        margin: differences within ± margin are taken not to matter (ours), NaN where no number fits all structures.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[Literal["", "mm", "mm^d"]]
    larger_is_better: ClassVar[bool]
    low: ClassVar[float] = 0.0
    high: ClassVar[float]
    margin: ClassVar[float] = float("nan")

    empty: Empty = "skip"

    @final
    def value(
        self, prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], spacing_mm: Sequence[float]
    ) -> float:
        """Return the metric of two masks (*S) bool; NaN only where both are empty and `empty` is "skip".

        Raises:
            DataError: the masks are not boolean, differ in shape, or the spacing does not fit them.
        """
        return self.of(MaskPair(prediction, truth, spacing_mm))

    @final
    def of(self, pair: MaskPair) -> float:
        """Return the metric of a pair; metrics that are given the same pair share its distances."""
        if pair.outcome == "absent":
            return self.best if self.empty == "perfect" else float("nan")
        return self.measure(pair) if pair.outcome == "both" else self.worst(pair)

    @property
    def best(self) -> float:
        """The value of a perfect prediction."""
        return self.high if self.larger_is_better else self.low

    def worst(self, pair: MaskPair) -> float:
        """Return the finite value of a miss and of a false alarm: no other prediction scores lower."""
        assert self.larger_is_better, f"{self.name} must say its worst value"
        return self.low

    def measure(self, pair: MaskPair) -> float:
        """Return the metric of two masks that both hold something."""
        raise NotImplementedError
