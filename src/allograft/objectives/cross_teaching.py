"""Cross teaching: two networks of different kinds label unlabelled cases for each other.

Idea      A convolutional net sees what is near, a transformer what is far. Each learns unlabelled cases from what
          the other decides; being unlike, they err unlike. The transformer only helps: the recipe's net is judged.
Paper     Luo, Hu, Song, Wang, Zhang. Semi-supervised medical image segmentation via cross teaching between CNN and
          transformer. MIDL 2022.  arXiv:2112.04894
Formula   L = Σ_k L_task(f_k; labelled) + w(t) [ Dice(f_1, sg(argmax f_2)) + Dice(f_2, sg(argmax f_1)) ](unlabelled)
          w(t) = weight exp(-5 (1 - t / ramp)^2); Dice = 1 - mean over classes of (2 Σ p t + s) / (Σ p^2 + Σ t^2 + s)
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  weight = 0.1 (paper).  ramp = 1 (paper: 200 of its 200 epochs of 150 steps).  partner = none, that is MONAI's
          SwinUNETR (ours; the paper has a Swin-Unet).  labelled_batch = 0 (ours), half of the budget's batch.
          unlabelled_batch = 0 (ours), the other half. joint_norm = false (ours).  label_smoothing = 0 (ours).
          class_weights = none (ours).  segmentation = none, Dice + cross-entropy (paper, each halved there).
Differs   1. Classification: cross-entropy takes the place of Dice, which is about areas.
          2. The partner has fresh values where its encoder is another than the recipe's (the paper's is pretrained on
          natural images).
          3. The two see labelled and unlabelled cases in passes of their own.
          4. One optimiser, one learning rate for both, as in the released code; a gradient clip is of both together.
Checked   tests/reference/test_cross_teaching.py: Dice typed out; two unlike networks; symmetric; weight 0 is
          supervised training bit for bit; the partner changes what the network learns.
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

__all__ = ["CrossTeaching"]


class CrossTeaching(TwoStreams, Method):
    """Train the recipe's network and one of another kind, each with the other's decisions as targets.

    Args:
        partner: the other network; its dims are the recipe's. None takes MONAI's SwinUNETR, whose images need sizes
            that are multiples of 32 and 64 along one axis at least.
        weight: largest weight of the cross term, >= 0.
        ramp: share of the steps over which it grows, in [0, 1].
        labelled_batch: labelled cases in a step, 0 for half of the budget's batch.
        unlabelled_batch: unlabelled cases in a step, 0 for half of the budget's batch.
        joint_norm: pass both in one batch, sharing normalisation statistics.
        label_smoothing: of the task's loss, in [0, 1).
        class_weights: of the task's loss, one per class, > 0; empty for 1.
        segmentation: settings of the task's loss on labelled cases of a segmentation.
    """

    name: ClassVar[str] = "cross_teaching"
    paper: ClassVar[Reference] = Reference(
        title="Semi-Supervised Medical Image Segmentation via Cross Teaching between CNN and Transformer",
        authors=("Luo", "Hu", "Song", "Wang", "Zhang"),
        year=2022,
        venue="MIDL",
        arxiv="2112.04894",
    )

    weight: float = Field(default=0.1, ge=0)
    partner: NetSpec | None = None

    def partners(self, net: NetSpec) -> Mapping[str, NetSpec]:
        """Return the partner, for the same images and tasks."""
        chosen = self.partner or NetSpec(encoder="monai:SwinUNETR", decoder="same")
        decoder = chosen.decoder if net.decoder else ""
        return {"partner": chosen.model_copy(update={"dims": net.dims, "decoder": decoder})}

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled cases and, without targets, unlabelled ones."""
        return self.two_streams()

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        overlap = SegmentationLoss(cross_entropy=0, squared=True, include_background=True)
        return CrossCriterion(
            self.name, self, task, task_loss(task, segmentation=overlap if task.kind == "segmentation" else None)
        )
