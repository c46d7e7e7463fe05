"""Minimax entropy: classes that look for the target's cases, and cases that gather round the classes.

Idea      With a few target labels, a classifier's weights are prototypes of classes that still lie with the source.
          The head raises the entropy of unlabelled target cases, which moves prototypes towards them; the encoder
          lowers it, which gathers the cases round prototypes.
Paper     Saito, Kim, Sclaroff, Darrell, Saenko. Semi-supervised domain adaptation via minimax entropy. ICCV 2019.
          arXiv:1904.06487
Formula   head: min L_task - lambda H;   encoder and decoder: min L_task + lambda H,  H the mean over target cases and
          elements of -sum_c p_c ln p_c;  lambda(t) = weight, or with gamma > 0
          weight (2 / (1 + exp(-gamma t)) - 1), t in [0, 1]
Streams   source: labelled images and targets, of the source and, with learn: both, of the few labelled target cases.
          target: the role "unlabelled", images only; targets are never read. A step has as many cases as a supervised
          one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  weight = 0.1 (paper).  gamma = 0 (paper), constant.  ramp = 1 (ours), acts with gamma only.  labelled_batch
          = 0 (ours), half of the budget's batch.  unlabelled_batch = 0 (ours), the other half.  joint_norm = false
          (ours).  label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none (ours):
          SegmentationLoss().
Differs   1. The head is the network's own, linear, so that it can be trained, kept and sent like any other. The
          paper's has no bias, unit features and temperature 0.05, which bounds its logits.
          2. Labelled and unlabelled losses make one step, the paper's code makes two in turn.
          3. Labelled cases of both domains come as often as there are of each; the paper draws both equally often.
          4. Segmentation: the entropy is of every element, and what is reversed are the decoder's features.
Checked   tests/reference/test_minimax_entropy.py: SciPy's entropy; the head's gradient is that of -lambda H, the
          encoder's that of +lambda H, in 2-D and 3-D, of images and masks; weight 0 is supervised training bit for
          bit; trained, the encoder alone makes target answers surer, the head alone less sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.functional.consistency import entropy_of_logs, log_shares
from allograft.functional.grl import reverse_gradient
from allograft.nets.network import Head, InstanceHead, Network, Output
from allograft.objectives.two_domains import TwoDomainCriterion, TwoDomains

__all__ = ["MinimaxEntropy"]


class MinimaxEntropy(TwoDomains, Method):
    """Let the head raise and the encoder lower the entropy of unlabelled target cases.

    Classification (binary, multi-class, multi-label) and segmentation, in 2-D and 3-D.
    """

    name: ClassVar[str] = "minimax_entropy"
    paper: ClassVar[Reference] = Reference(
        title="Semi-supervised Domain Adaptation via Minimax Entropy",
        authors=("Saito", "Kim", "Sclaroff", "Darrell", "Saenko"),
        year=2019,
        venue="ICCV",
        arxiv="1904.06487",
    )

    weight: float = Field(default=0.1, ge=0)
    gamma: float = Field(default=0.0, ge=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled cases and unlabelled target cases."""
        return self.domains("unlabelled")

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        return _MinimaxEntropy(self, task)


class _MinimaxEntropy(TwoDomainCriterion):
    """Minus the entropy, its gradient reversed where it enters encoder and decoder."""

    def __init__(self, spec: MinimaxEntropy, task: Task) -> None:
        super().__init__(spec, spec.supervised(task))
        self.task = task

    def term(self, net: Network, outs: tuple[Output, Output], weight: float) -> Loss:
        """Return -lambda H: the head descends this, what stands before it ascends it."""
        unsure = entropy_of_logs(log_shares(self._says(net, outs[1]), self.task.kind)).mean()
        return Loss(-weight * unsure, {"entropy": unsure.detach()})

    def _says(self, net: Network, out: Output) -> Tensor:
        """Return the head's logits of features behind the reversal."""
        head = cast("Head", net.heads[self.task.head])
        if isinstance(head, InstanceHead):
            parts, mask = net.instances(out.levels)
            return head.over_instances(reverse_gradient(parts), mask)
        decoded = reverse_gradient(out.decoded[-1]) if out.decoded else None
        return cast("Tensor", head(reverse_gradient(out.pooled), decoded))
