"""Mean teacher: agree with a moving average of yourself on images that carry other noise.

Idea      The average of a network's recent weights answers better than any single one. Where there are no labels,
          the student learns to answer, on one noisy sight of an image, as its average does on another.
Paper     Tarvainen, Valpola. Mean teachers are better role models. NeurIPS 2017.  arXiv:1703.01780
Formula   L = L_task + w(t) * mean (p_student(x) - p_teacher(x + n))^2,  n ~ noise * N(0, 1) cut at 2 noise;
          w(t) = weight * exp(-5 (1 - t / ramp)^2), t in [0, 1];  after each step theta' <- a theta' + (1 - a) theta,
          a = min(1 - 1 / (step + 1), decay)
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  weight = 1 (ours; SSL4MIS takes 0.1).  ramp = 1 (ours; as SSL4MIS).  noise = 0.1 (ours; as SSL4MIS), of
          standardised images.  decay = 0.99 (ours; as SSL4MIS).  buffers = average (ours).  hand_on = student (ours).
          labelled_batch = 0 (ours): half of the budget's batch, as
          unlabelled_batch = 0 (ours).  joint_norm = false (ours).  label_smoothing = 0 (ours).
          class_weights = none (ours).  segmentation = none (ours): SegmentationLoss() with its own defaults.
Differs   1. Consistency acts on the unlabelled half only; the paper's acts on labelled cases too.
          2. Running statistics are averaged like parameters; SSL4MIS leaves them to the teacher's passes
          (buffers: own). Both networks work with batch statistics while training, as there.
          3. SSL4MIS switches the term off for the first 1000 steps; the ramp begins at 0.7 % of the weight.
          4. The paper augments both sights; here they differ by noise and dropout, so that masks stay comparable.
Checked   tests/reference/test_mean_teacher.py: the term is the mean squared difference worked by hand; after one
          step the teacher is the student, it never gets a gradient, weight 0 is supervised training bit for bit;
          the teacher pulls the student; running statistics follow as `buffers` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from allograft.contracts import Criterion, Method, Progress, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.consistency import jitter, shares, squared_distance
from allograft.nets.network import Network
from allograft.objectives.taught import Taught, TaughtCriterion
from allograft.objectives.two_streams import Term, passes

__all__ = ["MeanTeacher"]


class MeanTeacher(Taught, Method):
    """Minimise the task's loss and the distance to the teacher's answers on unlabelled cases.

    Classification (binary, multi-class, multi-label) and segmentation.

    Args:
        noise: standard deviation of the noise on what the teacher sees, >= 0.
    """

    name: ClassVar[str] = "mean_teacher"
    paper: ClassVar[Reference] = Reference(
        title="Mean teachers are better role models",
        authors=("Tarvainen", "Valpola"),
        year=2017,
        venue="NeurIPS",
        arxiv="1703.01780",
    )

    noise: float = Field(default=0.1, ge=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled and unlabelled cases."""
        return self.two_streams(pixels=True)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns the teacher.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        return _MeanTeacher(self, task, nets["net"])


class _MeanTeacher(TaughtCriterion):
    """The distance to the teacher's answers on the stream "unlabelled"."""

    def __init__(self, spec: MeanTeacher, task: Task, net: Network) -> None:
        super().__init__(spec, task, net)
        self.noise = spec.noise

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the mean squared difference of probabilities."""
        assert not isinstance(unlabelled.image, tuple), "the stream asks for images"
        out, other = passes(net, [train.image, unlabelled.image], joint=self.spec.joint_norm)
        (target,) = self.ask(net, jitter(unlabelled.image, self.noise))
        apart = squared_distance(shares(self.logits(other), self.task.kind), target).mean()
        return Term(self.plain(out, train), apart, {})
