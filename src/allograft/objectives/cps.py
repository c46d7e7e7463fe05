"""CPS: cross pseudo supervision, two networks that label unlabelled cases for each other.

Idea      Two networks of one architecture, begun from other values, err in other places. What one decides about an
          unlabelled case is the other's target, so that both are pushed to agree, and few share an error.
Paper     Chen, Yuan, Zeng, Wang. Semi-supervised semantic segmentation with cross pseudo supervision. CVPR 2021.
          arXiv:2106.01226
Formula   L = Σ_k L_task(f_k; labelled) + w(t) [ CE(f_1, sg(argmax f_2)) + CE(f_2, sg(argmax f_1)) ](unlabelled)
          w(t) = weight exp(-5 (1 - t / ramp)^2), t the share of the steps done; sg stops the gradient
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  weight = 0.1 (ours, that of SSL4MIS).  ramp = 1 (ours, that of SSL4MIS).  labelled_batch = 0 (ours), half of
          the budget's batch. unlabelled_batch = 0 (ours), the other half. joint_norm = false (ours).  label_smoothing
          = 0 (ours).  class_weights = none (ours).  segmentation = none, Dice + cross-entropy (ours, as SSL4MIS).
Differs   1. The cross term looks at unlabelled cases only, as SSL4MIS.
          2. Networks see labelled and unlabelled cases in passes of their own.
          3. Classification: decisions about a case in place of a pixel; several labels are decided one by one at 0.5.
          4. One optimiser moves both: a gradient clip is of both together.
          5. The recipe's own network is judged, not the mean of the two.
Checked   tests/reference/test_cps.py: PyTorch's cross-entropies; symmetric under swapping; weight 0 is supervised
          training bit for bit; the cross term reaches each network and no decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from allograft.contracts import Criterion, Method, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.objectives.cross_criterion import CrossCriterion
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.task_loss import task_loss
from allograft.objectives.two_streams import TwoStreams

__all__ = ["CPS"]


class CPS(TwoStreams, Method):
    """Train two networks of the recipe's architecture, each with the other's decisions as targets.

    Args:
        weight: largest weight of the cross term, >= 0.
        ramp: share of the steps over which it grows, in [0, 1].
        labelled_batch: labelled cases in a step, 0 for half of the budget's batch.
        unlabelled_batch: unlabelled cases in a step, 0 for half of the budget's batch.
        joint_norm: pass both in one batch, sharing normalisation statistics.
        label_smoothing: of the task's loss, in [0, 1).
        class_weights: of the task's loss, one per class, > 0; empty for 1.
        segmentation: settings of the task's loss on labelled cases of a segmentation.
    """

    name: ClassVar[str] = "cps"
    paper: ClassVar[Reference] = Reference(
        title="Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision",
        authors=("Chen", "Yuan", "Zeng", "Wang"),
        year=2021,
        venue="CVPR",
        arxiv="2106.01226",
    )

    weight: float = Field(default=0.1, ge=0)

    def partners(self, net: NetSpec) -> Mapping[str, NetSpec]:
        """Return the second network: the same architecture, other fresh values."""
        return {"other": net}

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled cases and, without targets, unlabelled ones."""
        return self.two_streams()

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        entropy = SegmentationLoss(dice=0) if task.kind == "segmentation" else None
        return CrossCriterion(self.name, self, task, task_loss(task, segmentation=entropy))
