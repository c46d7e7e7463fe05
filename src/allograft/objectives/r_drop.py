"""R-Drop: two passes of one image, each with its own dropout, give one answer.

Idea      Dropout makes a network a different one in every pass. Pulling the answers of two passes together makes the
          sub-networks agree, and needs no label.
Paper     Liang et al. R-Drop: regularized dropout for neural networks. NeurIPS 2021.  arXiv:2106.14448
Formula   L = (L_task(f_1) + L_task(f_2)) / 2 + w(t) * mean (KL(p_1 || p_2) + KL(p_2 || p_1)) / 2,  p_k = softmax over
          classes of pass k, the mean over the cases and elements that `on` names;
          w(t) = weight * exp(-5 (1 - t / ramp)^2), t in [0, 1]
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  weight = 1 (ours; the paper's differs by task).  ramp = 0 (paper).  on = all (ours).
          labelled_batch = 0 (ours): half of the budget's batch, as
          unlabelled_batch = 0 (ours).  joint_norm = false (ours).  label_smoothing = 0 (ours).
          class_weights = none (ours).  segmentation = none (ours): SegmentationLoss() with its own defaults.
Differs   1. The paper has labelled cases only; here unlabelled ones take part (on: all), or they alone (on: unlabelled:
          labelled cases are passed once, and the first term is their loss).
          2. The sum of both task losses is halved, so that the weight compares with one supervised loss; against the
          paper's own sum it counts twice.
          3. SSL4MIS takes the softmax over the last axis of the image; here it is over the classes.
          4. A network without dropout or stochastic depth is refused: its passes would be equal.
Checked   tests/reference/test_r_drop.py: SciPy's KL divergences over classes; the order of the passes does not matter,
          without chance the term is 0, weight 0 is supervised training bit for bit; trained, passes agree more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.consistency import log_shares, symmetric_kl
from allograft.nets.network import Network, Output
from allograft.objectives.two_streams import Term, TwoStreamCriterion, TwoStreams, passes, require_noise

__all__ = ["RDrop"]


class RDrop(TwoStreams, Method):
    """Minimise the task's loss and the divergence of two passes of the same images.

    Classification (binary, multi-class, multi-label) and segmentation.

    Args:
        on: cases whose passes are compared: "all", or "unlabelled" ones only.
    """

    name: ClassVar[str] = "r_drop"
    paper: ClassVar[Reference] = Reference(
        title="R-Drop: Regularized Dropout for Neural Networks",
        authors=("Liang", "Wu", "Li", "others"),
        year=2021,
        venue="NeurIPS",
        arxiv="2106.14448",
    )

    ramp: float = Field(default=0.0, ge=0, le=1)
    on: Literal["all", "unlabelled"] = "all"

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled and unlabelled cases."""
        return self.two_streams()

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the task has no classes, the settings do not fit it, or the network has no dropout.
        """
        if self.weight:
            require_noise(nets["net"], "r_drop")
        return _RDrop(self, task)


class _RDrop(TwoStreamCriterion):
    """The divergence of two passes."""

    def __init__(self, spec: RDrop, task: Task) -> None:
        super().__init__(spec, task)
        self.on = spec.on

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the mean symmetric divergence."""
        twice, joint = self.on == "all", self.spec.joint_norm
        images = [train.image] * (1 + twice) + [unlabelled.image] * 2
        found = passes(net, images, joint=joint)
        apart = [self._apart(found[-2], found[-1])]
        plain = self.plain(found[0], train)
        if twice:
            apart.append(self._apart(found[0], found[1]))
            second = self.plain(found[1], train)
            parts = {name: (value + second.parts[name]) / 2 for name, value in plain.parts.items()}
            plain = Loss((plain.total + second.total) / 2, parts)
        return Term(plain, torch.cat(apart).mean(), {})

    def _apart(self, one: Output, two: Output) -> torch.Tensor:
        """Return the divergence of every element, (N,)."""
        first, second = (log_shares(self.logits(out), self.task.kind) for out in (one, two))
        return symmetric_kl(first, second).flatten()
