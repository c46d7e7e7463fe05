"""Supervised: the plain loss of the task on labelled cases.

Idea      Minimise the task's own loss on labelled cases: the objective that others are compared with.
Paper     house method; cross-entropy and its smoothing are textbook matter.
Formula   L = sum_i v_i w(y_i) l(f(x_i), y_i) / sum_i v_i w(y_i) over cases i whose target is present,
          v case weights, w class weights; l cross-entropy (multiclass), binary cross-entropy on logits
          (binary, multilabel) or squared error (regression). Segmentation: overlaps and entropies that
          `SegmentationLoss` weighs; plainly soft Dice + cross-entropy.
Streams   train: images and targets.
Defaults  label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none, that is
          SegmentationLoss() with its own defaults (ours).
Differs   none
Checked   tests/reference/test_supervised.py: PyTorch's own losses; a worked soft cross-entropy; absent
          targets reach neither loss nor gradient; weights move the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from allograft.contracts import HOUSE, Criterion, Loss, Method, Progress, StreamSpec, TaskLoss
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.task_loss import task_loss

__all__ = ["Supervised"]


class Supervised(Method):
    """Minimise the task's loss.

    Args:
        label_smoothing: share of the target spread evenly over the classes, in [0, 1).
        class_weights: one per class, > 0; empty for 1.
        segmentation: settings of the loss of a segmentation; None takes the usual ones.
    """

    name: ClassVar[str] = "supervised"
    paper: ClassVar[Reference] = HOUSE

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: tuple[float, ...] = ()
    segmentation: SegmentationLoss | None = None

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return the one stream of labelled cases."""
        return {"train": StreamSpec("train")}

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
        return _Supervised(loss)


class _Supervised(Criterion):
    """The task's loss on the stream "train"."""

    def __init__(self, loss: TaskLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the task's loss."""
        return self.loss(nets["net"](batch["train"].image), batch["train"])
