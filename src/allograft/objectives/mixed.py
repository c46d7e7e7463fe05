"""Mixed: true labels and another network's labels in one joint batch.

Idea      Cases with true labels and cases that a teacher labelled count alike, case for case, in every step.
Paper     Xie, Luong, Hovy, Le. Self-training with Noisy Student improves ImageNet classification. CVPR 2020.
          arXiv:1911.04252
Formula   L = (n_l L_l + n_p L_p) / (n_l + n_p),  L_l and L_p the supervised losses of the n_l labelled and the n_p
          pseudo-labelled cases of a step, n_p = ratio n_l;  to soft labels q: -sum_c q_c ln p_c
Streams   train: images and targets.   pseudo: images and another network's targets, hard or soft, with weights. A
          step has as many cases as a supervised one.
Defaults  ratio = 1 (paper, for its smallest network).  balance = false (ours).  joint_norm = true (ours).
          label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none (ours): SegmentationLoss()
          with its own defaults.
Differs   1. Both halves share the budget's batch; the paper's unlabelled batch is added to the labelled one.
          2. Where weights of cases or elements are given, each half is a mean by its weights.
Checked   tests/reference/test_mixed.py: PyTorch's cross-entropy over the joint batch; ratio 0 is supervised training
          bit for bit; pseudo-labels move the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec, TaskLoss
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.task_loss import task_loss
from allograft.objectives.two_streams import passes

__all__ = ["Mixed"]


class Mixed(Method):
    """Minimise the task's loss on true and pseudo-labels together; a procedure gives the role "pseudo".

    Args:
        ratio: pseudo-labelled cases for each labelled one in a step, >= 0; 0 reads labelled cases only.
        balance: pseudo-labelled cases of every class equally often (binary and multi-class tasks).
        joint_norm: pass both through the network in one batch, so that norm layers see both at once.
        label_smoothing: as in the objective "supervised".
        class_weights: as in the objective "supervised".
        segmentation: settings of the loss of a segmentation; None takes the usual ones.
    """

    name: ClassVar[str] = "mixed"
    paper: ClassVar[Reference] = Reference(
        title="Self-training with Noisy Student improves ImageNet classification",
        authors=("Xie", "Luong", "Hovy", "Le"),
        year=2020,
        venue="CVPR",
        arxiv="1911.04252",
    )

    ratio: float = Field(default=1.0, ge=0)
    balance: bool = False
    joint_norm: bool = True
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: tuple[float, ...] = ()
    segmentation: SegmentationLoss | None = None

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled and pseudo-labelled cases."""
        own = 1 / (1 + self.ratio)
        labelled = {"train": StreamSpec("train", share=own)}
        if not self.ratio:
            return labelled
        return {**labelled, "pseudo": StreamSpec("pseudo", share=1 - own, balance=self.balance)}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the task has no plain loss, or the settings do not fit it.
        """
        loss = task_loss(
            task,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            segmentation=self.segmentation,
        )
        return _Mixed(loss, joint=self.joint_norm)


class _Mixed(Criterion):
    """The task's loss over the joint batch of "train" and "pseudo"."""

    def __init__(self, loss: TaskLoss, *, joint: bool) -> None:
        super().__init__()
        self.loss, self.joint = loss, joint

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the mean over the cases of both streams."""
        net, train = nets["net"], batch["train"]
        if "pseudo" not in batch:
            return self.loss(net(train.image), train)
        pseudo = batch["pseudo"]
        out, other = passes(net, [train.image, pseudo.image], joint=self.joint)
        true, said = self.loss(out, train), self.loss(other, pseudo)
        part = len(train.ids) / (len(train.ids) + len(pseudo.ids))
        total = part * true.total + (1 - part) * said.total
        return Loss(total, {**true.parts, "pseudo": said.total.detach()})
