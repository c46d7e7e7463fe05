"""Entropy minimisation: unlabelled cases push the decision boundary to where few of them lie.

Idea      A network that is torn between classes on an unlabelled case has its boundary there. Lowering the entropy
          of its own answers moves the boundary into regions without cases.
Paper     Grandvalet, Bengio. Semi-supervised learning by entropy minimization. NeurIPS 2004.
Formula   L = L_task + w(t) * mean over cases and elements of -sum_c p_c ln p_c / ln C,  p = softmax(f(x))
          (binary and multi-label: C = 2 for each label);  w(t) = weight * exp(-5 (1 - t / ramp)^2), t in [0, 1]
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  weight = 0.1 (ours; as SSL4MIS).  ramp = 1 (ours; as SSL4MIS).
          labelled_batch = 0 (ours): half of the budget's batch, as unlabelled_batch = 0 (ours).
          joint_norm = false (ours).  label_smoothing = 0 (ours).  class_weights = none (ours).
          segmentation = none (ours): SegmentationLoss() with its own defaults.
Differs   1. Entropies are divided by ln C, so that the weight means the same for any number of classes.
          2. The paper weighs without a ramp; ramp: 0 does so. SSL4MIS passes both halves at once (joint_norm: true).
          3. No 1e-6 inside the logarithm: entropies come from log-probabilities.
Checked   tests/reference/test_entropy_minimisation.py: SciPy's entropy over ln C; even answers cost 1, sure ones 0,
          weight 0 is supervised training bit for bit; trained, unlabelled answers get surer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from allograft.contracts import Criterion, Method, Progress, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.consistency import entropy_of_logs, log_shares
from allograft.nets.network import Network
from allograft.objectives.two_streams import Term, TwoStreamCriterion, TwoStreams, passes

__all__ = ["EntropyMinimisation"]


class EntropyMinimisation(TwoStreams, Method):
    """Minimise the task's loss and the entropy of the answers on unlabelled cases.

    Classification (binary, multi-class, multi-label) and segmentation.
    """

    name: ClassVar[str] = "entropy_minimisation"
    paper: ClassVar[Reference] = Reference(
        title="Semi-supervised Learning by Entropy Minimization",
        authors=("Grandvalet", "Bengio"),
        year=2004,
        venue="NeurIPS",
    )

    weight: float = Field(default=0.1, ge=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled and unlabelled cases."""
        return self.two_streams()

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        return _EntropyMinimisation(self, task)


class _EntropyMinimisation(TwoStreamCriterion):
    """The normalised entropy on the stream "unlabelled"."""

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the mean entropy, in [0, 1]."""
        out, other = passes(net, [train.image, unlabelled.image], joint=self.spec.joint_norm)
        logs = log_shares(self.logits(other), self.task.kind)
        unsure = entropy_of_logs(logs).mean() / math.log(logs.shape[1])
        return Term(self.plain(out, train), unsure, {})
