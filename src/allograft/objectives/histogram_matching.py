"""Histogram matching: each source image gets the values of a target image, rank by rank.

Idea      Another scanner or window changes values by a rising curve; then the order of values is all that is common.
          Giving source images the histogram of target images undoes any such curve without learning anything.
Paper     Gonzalez, Fittes. Gray-level transformations for interactive image enhancement. Mechanism and Machine
          Theory 12, 1977.
Formula   x' = Q_t(P_x(x)) for every channel: P_x the source image's own cumulative distribution, Q_t the quantiles of
          a target image;  L = L_task(f; x', y)
Streams   source: images and targets.   target: images only; targets are never read. As many of each as a
          supervised step has; a random image of the target batch lends its histogram.
Defaults  label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none, Dice + cross-entropy (ours).
Differs   1. The reference is another target image in every step, not one for all: the spread of the target is learnt.
          2. In a segmentation the windows are matched, which need not show the same anatomy.
Checked   tests/reference/test_histogram_matching.py: scikit-image's match_histograms; a rising curve is undone
          exactly and order is kept; the step sees changed images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from allograft.contracts import Criterion, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.functional.histogram import match_histograms
from allograft.nets.network import Network
from allograft.objectives.image_level import ImageLevel, ImageLevelCriterion, partners

__all__ = ["HistogramMatching"]


class HistogramMatching(ImageLevel, Method):
    """Train on source images with the histograms of target images. Any task."""

    name: ClassVar[str] = "histogram_matching"
    paper: ClassVar[Reference] = Reference(
        title="Gray-level transformations for interactive image enhancement",
        authors=("Gonzalez", "Fittes"),
        year=1977,
        venue="Mechanism and Machine Theory",
    )

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the settings do not fit the task.
        """
        return _HistogramMatching(self, task)


class _HistogramMatching(ImageLevelCriterion):
    """Source images with other histograms."""

    def changed(self, source: Tensor, target: Tensor, at: Progress) -> Tensor:
        """Return source images with the histograms of random target images."""
        return match_histograms(source, partners(source, target))
