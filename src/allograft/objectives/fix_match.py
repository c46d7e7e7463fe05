"""FixMatch: sure answers on weakly augmented images become labels of strongly augmented ones.

Idea      What a network is sure of on an easy sight of an image is taken for true and taught on a hard sight.
          Answers that are not sure enough are left out.
Paper     Sohn et al. FixMatch: simplifying semi-supervised learning with consistency and confidence. NeurIPS 2020.
          arXiv:2001.07685
Formula   p = softmax(f(weak(x))), L = L_task + weight * (1 / N) sum_i [max_c p_ic >= threshold]
          * -ln softmax(f(strong(x)))_(i, argmax p_i),  N all unlabelled elements, sure or not
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
          Weak is the study's own augmentation; strong is the preset "strong", of windows "photometric" (same place).
Defaults  weight = 1 (paper).  threshold = 0.95 (paper).  ramp = 0 (paper).
          labelled_batch = 0 (ours): half of the budget's batch, as
          unlabelled_batch = 0 (ours).  joint_norm = false (ours).  label_smoothing = 0 (ours).
          class_weights = none (ours).  segmentation = none (ours): SegmentationLoss() with its own defaults.
Differs   1. As many unlabelled as labelled cases, so that a step has the budget's batch; the paper has 7 times as many
          (labelled_batch, unlabelled_batch).
          2. Labels come from a pass of their own, without gradient; the paper passes all in one batch
          (joint_norm: true).
          3. The network itself is judged; the paper judges a moving average of it.
          4. Of a segmentation every element is accepted or left out by itself. SSL4MIS turns what it rejects into
          the background and stretches the probabilities to [0, 1] before comparing them; here neither is done.
          5. Of a multi-label task every label is accepted or left out by itself.
Checked   tests/reference/test_fix_match.py: PyTorch's cross-entropy with ignored elements; all rejected gives 0, not
          NaN, rejected elements get no gradient, weight 0 is supervised training bit for bit; answers are taught.
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
from allograft.functional.consistency import log_shares, shares
from allograft.nets.network import Network
from allograft.objectives.two_streams import Term, TwoStreamCriterion, TwoStreams, passes

__all__ = ["FixMatch"]


class FixMatch(TwoStreams, Method):
    """Minimise the task's loss and the cross-entropy of strong views to the network's own sure answers.

    Classification (binary, multi-class, multi-label) and segmentation.

    Args:
        threshold: least probability of an answer that is taught, in (0, 1].
    """

    name: ClassVar[str] = "fix_match"
    paper: ClassVar[Reference] = Reference(
        title="FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence",
        authors=("Sohn", "Berthelot", "Li", "others"),
        year=2020,
        venue="NeurIPS",
        arxiv="2001.07685",
    )

    ramp: float = Field(default=0.0, ge=0, le=1)
    threshold: float = Field(default=0.95, gt=0, le=1)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled cases, and unlabelled ones with a strong view."""
        return self.two_streams(views=1, look="strong")

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        return _FixMatch(self, task)


class _FixMatch(TwoStreamCriterion):
    """The cross-entropy to sure answers on the stream "unlabelled"."""

    def __init__(self, spec: FixMatch, task: Task) -> None:
        super().__init__(spec, task)
        self.threshold = spec.threshold

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the sum over accepted elements divided by the number of all; 0 where none is accepted."""
        weak, (strong, _) = unlabelled.image, unlabelled.views[0]
        if self.spec.joint_norm:
            out, easy, hard = passes(net, [train.image, weak, strong], joint=True)
        else:
            out, hard = passes(net, [train.image, strong], joint=False)
            with torch.no_grad():
                easy = net(weak)
        found = shares(self.logits(easy).detach(), self.task.kind).max(1)
        accepted = found.values >= self.threshold  # (B, *E)
        surprise = -log_shares(self.logits(hard), self.task.kind).gather(1, found.indices[:, None])[:, 0]
        value = torch.where(accepted, surprise, torch.zeros_like(surprise)).mean()
        return Term(self.plain(out, train), value, {"accepted": accepted.float().mean()})
