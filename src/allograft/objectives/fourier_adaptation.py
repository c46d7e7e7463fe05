"""FDA: source images get the low-frequency amplitudes of target images.

Idea      The amplitudes of an image's lowest frequencies hold how a scanner shows things, the phases hold where they
          are. A source image with the amplitudes of a target image looks like the target and keeps its labels.
Paper     Yang, Soatto. FDA: Fourier domain adaptation for semantic segmentation. CVPR 2020.  arXiv:2004.05498
Formula   x' = F^-1(M |F(t)| + (1 - M) |F(x)|, arg F(x)), M the band |k| <= floor(beta * shortest side);
          L = L_task(f; x', y) + w * mean (H(f(t))^2 + 1e-8)^exponent after the share `begin` of the steps, H the
          entropy of an answer over ln C
Streams   source: images and targets.   target: images only; targets are never read. As many of each as a
          supervised step has; a random image of the target batch lends its amplitudes.
Defaults  beta = 0.05 (paper: 0.01, 0.05 and 0.09).  entropy_weight = 0.005 (paper).  exponent = 2 (paper).
          begin = 1/3 (ours, that of the authors' code).  label_smoothing = 0 (ours).  class_weights = none (ours).
          segmentation = none, Dice + cross-entropy (ours).
Differs   1. Of the mean the value is taken, not its amplitude, so that it does not matter how images were normalised;
          for images without values below 0 it is the same.
          2. One beta, no second round with pseudo-labels of three networks; the procedure "noisy_student" does rounds.
          3. The band is a cube in volumes; along short axes it holds a larger share of the frequencies.
          4. Classification: the entropy is that of the case's answer. Source and target pass one after the other.
Checked   tests/reference/test_fourier_adaptation.py: NumPy's transform; the band's amplitudes are the target's and
          all phases the source's; beta 0 is the identity; the step's loss typed out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.amplitude import swap_amplitude
from allograft.functional.consistency import entropy, shares
from allograft.nets.network import Network
from allograft.objectives.image_level import ImageLevel, ImageLevelCriterion, images, partners

__all__ = ["FourierAdaptation"]

FLOOR = 1e-8


class FourierAdaptation(ImageLevel, Method):
    """Train on source images with a target image's low-frequency amplitudes, and sharpen answers on the target.

    Classification, regression (entropy_weight 0) and segmentation.

    Args:
        beta: half-width of the band as a share of the shortest side, in [0, 0.5]; 0 changes nothing.
        entropy_weight: of the entropy on target images, >= 0.
        exponent: of the squared entropy; larger values leave alone who is nearly sure.
        begin: share of the steps without the entropy, in [0, 1].
    """

    name: ClassVar[str] = "fourier_adaptation"
    paper: ClassVar[Reference] = Reference(
        title="FDA: Fourier Domain Adaptation for Semantic Segmentation",
        authors=("Yang", "Soatto"),
        year=2020,
        venue="CVPR",
        arxiv="2004.05498",
    )

    beta: float = Field(default=0.05, ge=0, le=0.5)
    entropy_weight: float = Field(default=0.005, ge=0)
    exponent: float = Field(default=2.0, gt=0)
    begin: float = Field(default=1 / 3, ge=0, le=1)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: a regression has no entropy, or the settings do not fit the task.
        """
        if task.kind == "regression" and self.entropy_weight:
            msg = "fourier_adaptation: a regression has no classes whose entropy could fall. Set entropy_weight: 0."
            raise ConfigError(msg)
        return _FourierAdaptation(self, task)


class _FourierAdaptation(ImageLevelCriterion):
    """The task's loss on changed source images, and the entropy on "target"."""

    def __init__(self, spec: FourierAdaptation, task: Task) -> None:
        super().__init__(spec, task)
        self.spec = spec

    def changed(self, source: Tensor, target: Tensor, at: Progress) -> Tensor:
        """Return source images with the amplitudes of random target images."""
        return swap_amplitude(source, partners(source, target), self.spec.beta)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the task's loss and, from `begin` on, the entropy."""
        found = super().forward(nets, batch, at, player)
        if not self.spec.entropy_weight or at.fraction < self.spec.begin:
            return found
        logits = nets["net"](images(batch["target"])).logits[self.task.head]
        answers = shares(logits, self.task.kind)
        unsure = entropy(answers) / math.log(answers.shape[1])
        robust = torch.pow(unsure.square() + FLOOR, self.spec.exponent).mean()
        parts = {**found.parts, "entropy": unsure.detach().mean()}
        return Loss(found.total + self.spec.entropy_weight * robust, parts)
