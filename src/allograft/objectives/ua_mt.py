"""UA-MT: a mean teacher that is listened to only where it is sure of itself.

Idea      A teacher's answers are wrong where it is unsure. Several noisy passes tell how sure it is at each
          element; the student agrees with it there, first where it is surest and in the end everywhere.
Paper     Yu, Wang, Li, Fu, Heng. Uncertainty-aware self-ensembling model for semi-supervised 3D left atrium
          segmentation. MICCAI 2019.  arXiv:1907.07034
Formula   pbar = mean of T passes p_teacher(x + n_k), H = -sum_c pbar_c ln pbar_c, m = [H < (0.75 + 0.25 r(t)) ln C];
          L = L_task + w(t) * sum_i m_i sum_c (p_student(x) - p_teacher(x + n))_ic^2 / (C sum_i m_i);
          r(t) = exp(-5 (1 - t)^2), w(t) = weight * exp(-5 (1 - t / ramp)^2), t in [0, 1]; teacher as in "mean_teacher"
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  weight = 0.1 (paper).  ramp = 1 (paper).  passes = 8 (paper).  noise = 0.1 (ours; as the released code), of
          standardised images.  decay = 0.99 (paper).  buffers = average (ours).  hand_on = student (ours).
          labelled_batch = 0 (ours): half of the budget's batch, as
          unlabelled_batch = 0 (ours).  joint_norm = false (ours).  label_smoothing = 0 (ours).
          class_weights = none (ours).  segmentation = none (ours): SegmentationLoss() with its own defaults.
Differs   1. The bound is a share of ln C, the largest entropy of C classes, so that in the end every element counts;
          the released code writes ln 2. C also replaces the 2 of its denominator. For two classes both are the same.
          2. Of a classification an element is a case, of a multi-label task a label of a case.
          3. Where no element is sure the term is 0; the code adds 1e-16 to the denominator, to the same end.
          4. Running statistics of the teacher are averaged (buffers: own leaves them to its passes, as the code).
Checked   tests/reference/test_ua_mt.py: worked bounds and an independent formula of the term; at the end of training
          nearly all elements count, weight 0 is supervised training bit for bit; unsure elements give no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field

from allograft.contracts import Criterion, Method, Progress, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.consistency import certainty_bound, entropy, jitter, shares, squared_distance
from allograft.nets.network import Network
from allograft.objectives.taught import Taught, TaughtCriterion
from allograft.objectives.two_streams import Term, passes, require_noise

__all__ = ["UAMT"]


class UAMT(Taught, Method):
    """Minimise the task's loss and the distance to the teacher's answers where the teacher is sure.

    Classification (binary, multi-class, multi-label) and segmentation.

    Args:
        passes: T, noisy passes that tell how sure the teacher is, at least 2.
        noise: standard deviation of the noise on what the teacher sees, >= 0; for 0 the network needs dropout.
    """

    name: ClassVar[str] = "ua_mt"
    paper: ClassVar[Reference] = Reference(
        title="Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium Segmentation",
        authors=("Yu", "Wang", "Li", "Fu", "Heng"),
        year=2019,
        venue="MICCAI",
        arxiv="1907.07034",
    )

    weight: float = Field(default=0.1, ge=0)
    passes: int = Field(default=8, ge=2)
    noise: float = Field(default=0.1, ge=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled and unlabelled cases."""
        return self.two_streams(pixels=True)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns the teacher.

        Raises:
            ConfigError: the task has no classes, the settings do not fit it, or no two passes would differ.
        """
        if not self.noise:
            require_noise(nets["net"], "ua_mt with noise 0")
        return _UAMT(self, task, nets["net"])


class _UAMT(TaughtCriterion):
    """The distance to the teacher's sure answers on the stream "unlabelled"."""

    def __init__(self, spec: UAMT, task: Task, net: Network) -> None:
        super().__init__(spec, task, net)
        self.ua_mt = spec

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the mean squared difference of probabilities over the elements that count; 0 where none does."""
        image, scale = unlabelled.image, self.ua_mt.noise
        assert isinstance(image, torch.Tensor), "the stream asks for images"
        out, other = passes(net, [train.image, image], joint=self.spec.joint_norm)
        (target,) = self.ask(net, jitter(image, scale))
        mean = torch.zeros_like(target)
        for _ in range(self.ua_mt.passes):
            mean += self.ask(net, jitter(image, scale))[0] / self.ua_mt.passes
        sure = (entropy(mean) < certainty_bound(at.fraction, mean.shape[1])).to(mean)
        apart = squared_distance(shares(self.logits(other), self.task.kind), target) * sure
        value = apart.sum() / sure.sum().clamp(min=1)
        return Term(self.plain(out, train), value, {"sure": sure.mean()})
