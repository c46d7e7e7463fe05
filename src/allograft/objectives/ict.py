"""ICT: the answer to a mixture of two images is the mixture of the two answers.

Idea      Between two unlabelled images the decision should change evenly, not at once: the student's answer to their
          mixture is pulled to the same mixture of the teacher's answers, which pushes boundaries between clusters.
Paper     Verma, Lamb, Kannala, Bengio, Lopez-Paz. Interpolation consistency training for semi-supervised learning.
          IJCAI 2019.  arXiv:1903.03825
Formula   L = L_task + w(t) * mean (p_student(mix_b(x, x')) - mix_b(p_teacher(x), p_teacher(x')))^2,
          mix_b(u, v) = b u + (1 - b) v, b ~ Beta(alpha, alpha) for each image;
          w(t) = weight * exp(-5 (1 - t / ramp)^2), t in [0, 1]; teacher as in "mean_teacher"
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  weight = 1 (ours; SSL4MIS takes 0.1).  ramp = 1 (ours; as SSL4MIS).  alpha = 0.2 (ours; as SSL4MIS).
          decay = 0.99 (ours; as SSL4MIS).  buffers = average (ours).  hand_on = student (ours).
          labelled_batch = 0 (ours): half of the budget's batch, as
          unlabelled_batch = 0 (ours).  joint_norm = false (ours).  label_smoothing = 0 (ours).
          class_weights = none (ours).  segmentation = none (ours): SegmentationLoss() with its own defaults.
Differs   1. The partner x' of an image is the one before it in the batch, which the stream has shuffled, so each
          image is mixed twice. The paper draws a permutation, SSL4MIS mixes one half of the batch with the other.
          2. Each image has its own b, as in SSL4MIS; the paper draws one for a batch.
          3. The unlabelled images that the teacher sees are not passed through the student.
          4. Running statistics of the teacher are averaged (buffers: own leaves them to its passes).
Checked   tests/reference/test_ict.py: the mixture equals a loop over pairs, for images, classes and masks; with b = 1
          it is a mean teacher without noise, weight 0 is supervised training bit for bit; the partner's answer
          enters the target and its image the student.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field

from allograft.contracts import Criterion, Method, Progress, StreamSpec
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.consistency import mix, shares, squared_distance
from allograft.nets.network import Network
from allograft.objectives.taught import Taught, TaughtCriterion
from allograft.objectives.two_streams import Term, passes

__all__ = ["ICT"]


class ICT(Taught, Method):
    """Minimise the task's loss and the distance of answers to mixtures from mixtures of the teacher's answers.

    Classification (binary, multi-class, multi-label) and segmentation.

    Args:
        alpha: of the law Beta(alpha, alpha) of the shares, > 0; small values mix little.
    """

    name: ClassVar[str] = "ict"
    paper: ClassVar[Reference] = Reference(
        title="Interpolation Consistency Training for Semi-Supervised Learning",
        authors=("Verma", "Lamb", "Kannala", "Bengio", "Lopez-Paz"),
        year=2019,
        venue="IJCAI",
        arxiv="1903.03825",
    )

    alpha: float = Field(default=0.2, gt=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled and unlabelled cases."""
        return self.two_streams(pixels=True)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns the teacher.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        return _ICT(self, task, nets["net"])


class _ICT(TaughtCriterion):
    """The distance between answer to the mixture and mixture of answers on the stream "unlabelled"."""

    def __init__(self, spec: ICT, task: Task, net: Network) -> None:
        super().__init__(spec, task, net)
        self.alpha = spec.alpha

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the mean squared difference of probabilities.

        Raises:
            ConfigError: there is no second image to mix with.
        """
        image = unlabelled.image
        assert isinstance(image, torch.Tensor), "the stream asks for images"
        if len(image) < 2:
            msg = "ict mixes unlabelled images in pairs, expected at least 2 in a step, got 1. Raise unlabelled_batch."
            raise ConfigError(msg)
        own = torch.distributions.Beta(self.alpha, self.alpha).sample((len(image),)).to(image)
        out, other = passes(net, [train.image, mix(image, own)], joint=self.spec.joint_norm)
        (answers,) = self.ask(net, image)
        apart = squared_distance(shares(self.logits(other), self.task.kind), mix(answers, own)).mean()
        return Term(self.plain(out, train), apart, {})
