"""Nyul: source images are brought onto the target's intensity scale by a few percentiles.

Idea      MR values mean nothing by themselves, but percentiles of an image do. Moving each source image's percentiles
          to where those of target images lie on average, linearly in between, gives tissue the target's values.
Paper     Nyul, Udupa, Zhang. New variants of a method of MRI scale standardization. IEEE Transactions on Medical
          Imaging 19, 2000.
Formula   m_k = mean over target images of their percentile p_k;  x' piecewise linear, x'(percentile p_k of x) = m_k;
          L = L_task(f; x', y)
Streams   source: images and targets.   target: images only; targets are never read. As many of each as a
          supervised step has.
Defaults  percents = 1, 10, 20 ... 90, 99 (ours).  foreground = false (ours).  label_smoothing = 0 (ours).
          class_weights = none (ours).  segmentation = none, Dice + cross-entropy (ours).
Differs   1. The standard scale is the target's own, the mean landmarks of the target images seen so far; images of both
          domains are not brought to a third scale, and target images enter as they are.
          2. Target images count as training sees them, augmented, and in a segmentation by windows; the scale settles
          during the first steps.
          3. Landmarks are averaged as they are, without a linear map to a common range before.
          4. Every channel has a scale of its own.
Checked   tests/reference/test_nyul.py: NumPy's percentiles and interpolation; landmarks fall on the standard ones, an
          affine change of scale is undone; the mean over steps is kept through a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Self

import torch
from pydantic import model_validator
from torch import Tensor

from allograft.contracts import Criterion, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.functional.landmarks import landmarks, onto_scale
from allograft.nets.network import Network
from allograft.objectives.image_level import ImageLevel, ImageLevelCriterion

__all__ = ["Nyul"]


class Nyul(ImageLevel, Method):
    """Train on source images whose percentiles lie where the target's do. Any task.

    Args:
        percents: landmarks, at least two, rising, in [0, 100].
        foreground: take percentiles of what is above an image's mean only, for images with much background.
    """

    name: ClassVar[str] = "nyul"
    paper: ClassVar[Reference] = Reference(
        title="New variants of a method of MRI scale standardization",
        authors=("Nyul", "Udupa", "Zhang"),
        year=2000,
        venue="IEEE Transactions on Medical Imaging",
        doi="10.1109/42.836373",
    )

    percents: tuple[float, ...] = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
    foreground: bool = False

    @model_validator(mode="after")
    def _rising(self) -> Self:
        rising = all(a < b for a, b in pairwise(self.percents))
        if len(self.percents) < 2 or not rising or self.percents[0] < 0 or self.percents[-1] > 100:
            msg = f"percents are two or more rising numbers in [0, 100], got {self.percents}"
            raise ValueError(msg)
        return self

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns the standard scale.

        Raises:
            ConfigError: the settings do not fit the task.
        """
        return _Nyul(self, task, nets["net"].shape.in_channels)


class _Nyul(ImageLevelCriterion):
    """Source images on the target's scale, which is kept as a sum and a count."""

    total: Tensor
    count: Tensor

    def __init__(self, spec: Nyul, task: Task, channels: int) -> None:
        super().__init__(spec, task)
        self.spec = spec
        self.register_buffer("total", torch.zeros(channels, len(spec.percents), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def changed(self, source: Tensor, target: Tensor, at: Progress) -> Tensor:
        """Count the target images in, and return the source images on their scale."""
        for image in target:
            self.total += self._landmarks(image)
        self.count += len(target)
        standard = self.total / self.count
        return torch.stack([onto_scale(image, self._landmarks(image), standard) for image in source])

    def _landmarks(self, image: Tensor) -> Tensor:
        return landmarks(image, self.spec.percents, foreground=self.spec.foreground)
