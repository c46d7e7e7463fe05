"""URPC: uncertainty rectified pyramid consistency, predictions at several scales agree where they are sure.

Idea      A network that predicts from coarse and from fine features gives several answers for one image. They should
          agree; where they differ much the image is hard, and there the demand is softened.
Paper     Luo et al. Efficient semi-supervised gross target volume of nasopharyngeal carcinoma segmentation via
          uncertainty rectified pyramid consistency. MICCAI 2021.  arXiv:2012.07042
Formula   L = mean_s L_task(f_s; labelled) + w(t) R(unlabelled)
          R = mean_s [ mean(|q - p_s|^2 e^-v_s) / (mean e^-v_s + 1e-8) + mean v_s ]
          p_s probabilities of scale s on the image's grid, q = mean_s p_s, v_s = Σ_c q log(q / p_s), |.|^2 averaged
          over classes; w(t) = weight exp(-5 (1 - t / ramp)^2)
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  scales = 4 (paper).  perturb = true (ours, that of SSL4MIS).  weight = 0.1 (paper).  ramp = 1 (ours, that of
          SSL4MIS).  labelled_batch = 0 (ours), half of the budget's batch. unlabelled_batch = 0 (ours), the other
          half. joint_norm = false (ours).  label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation =
          none, Dice + cross-entropy (paper, each halved there).
Differs   1. Side predictions are 1x1 convolutions of the decoder's steps before the last ("unet"), of other decoders
          of the encoder's levels above stride 1; SSL4MIS has kernels of
          3.
          2. Logits are interpolated linearly to the image's grid.
          3. Side predictions live in training only; the last one is judged.
          4. With weight 0 there are none at all: that is supervised training.
          5. Classification: linear heads on the means of the encoder's shallower levels; the uncertainty is of the
          whole case.
Checked   tests/reference/test_urpc.py: the term typed out in numpy; 0 where all scales agree; weight 0 is supervised
          training bit for bit; every scale gets a gradient from unlabelled cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.consistency import log_shares
from allograft.functional.perturb import channel_dropout, feature_dropout, feature_noise
from allograft.nets.heads.linear import LinearHead
from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.network import Network, Output, Pyramid, axis_strides
from allograft.objectives.two_streams import Term, TwoStreamCriterion, TwoStreams, passes

__all__ = ["URPC", "pyramid_consistency"]

PERTURB = (feature_noise, feature_dropout, channel_dropout)


class URPC(TwoStreams, Method):
    """Ask predictions of several scales to agree where they are sure.

    Args:
        scales: predictions of an image, the network's own included, >= 2; fewer where the network has fewer.
        perturb: whether features of the side predictions are perturbed in training, each in another way.
        weight: largest weight of the consistency, >= 0.
        ramp: share of the steps over which it grows, in [0, 1].
        labelled_batch: labelled cases in a step, 0 for half of the budget's batch.
        unlabelled_batch: unlabelled cases in a step, 0 for half of the budget's batch.
        joint_norm: pass both in one batch, sharing normalisation statistics.
        label_smoothing: of the task's loss, in [0, 1).
        class_weights: of the task's loss, one per class, > 0; empty for 1.
        segmentation: settings of the task's loss on labelled cases of a segmentation.
    """

    name: ClassVar[str] = "urpc"
    paper: ClassVar[Reference] = Reference(
        title="Efficient Semi-supervised Gross Target Volume of Nasopharyngeal Carcinoma Segmentation via Uncertainty "
        "Rectified Pyramid Consistency",
        authors=("Luo", "Liao", "Chen", "Song", "Chen", "Zhang", "Chen", "Wang", "Zhang"),
        year=2021,
        venue="MICCAI",
        arxiv="2012.07042",
    )

    weight: float = Field(default=0.1, ge=0)
    scales: int = Field(default=4, ge=2)
    perturb: bool = True

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled cases and, without targets, unlabelled ones."""
        return self.two_streams(pixels=True)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns the side predictions.

        Raises:
            ConfigError: the task has no classes, the settings do not fit it, or the network has one scale only.
        """
        return _URPC(self, task, nets["net"])


def pyramid_consistency(logs: Sequence[Tensor]) -> Tensor:
    """Return how far predictions are from their mean, less where they are unsure, and how unsure they are.

    Args:
        logs: log-probabilities of each scale, (B, L[, *S]).

    Returns:
        A scalar >= 0; 0 where all agree.
    """
    found = [one.exp() for one in logs]
    mean = torch.stack(found).mean(0)
    terms = []
    for log, one in zip(logs, found, strict=True):
        unsure = torch.special.xlogy(mean, mean).sub(mean * log).sum(dim=1, keepdim=True)
        sure = (-unsure).exp()
        distance = ((mean - one).square() * sure).mean()
        terms.append(distance / (sure.mean() + 1e-8) + unsure.mean())
    return torch.stack(terms).mean()


class _URPC(TwoStreamCriterion):
    """The network's own prediction and those of shallower or coarser features."""

    def __init__(self, spec: URPC, task: Task, net: Network) -> None:
        super().__init__(spec, task)
        self.own = spec
        self.dense = task.kind == "segmentation"
        self.of_decoder = self.dense and isinstance(net.decoder, Pyramid)
        self.places, widths = self._sides(net)
        if not self.places:
            msg = "urpc: the network has features of one scale only. Use a decoder or an encoder with several levels."
            raise ConfigError(msg)
        self.sides = nn.ModuleList(
            PointwiseHead(net.shape.dims, width, task.outputs) if self.dense else LinearHead(width, task.outputs)
            for width in (widths if spec.weight else ())
        )

    def _sides(self, net: Network) -> tuple[list[int], list[int]]:
        """Return which features have a side prediction, coarse to fine, and their channels."""
        count, shape = self.own.scales - 1, net.shape
        if self.of_decoder:
            widths = cast("Pyramid", net.decoder).widths
            places = list(range(len(widths) - 1))[-count:]
            return places, [widths[i] for i in places]
        able = list(range(len(shape.channels) - 1))
        if self.dense:
            able = [i for i, strides in enumerate(axis_strides(shape)) if min(strides) > 0 and max(strides) > 1]
        places = able[-count:][::-1]
        return places, [shape.channels[i] for i in places]

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the mean loss of all predictions of labelled cases, and how far those of unlabelled ones differ."""
        out, more = passes(net, [train.image, unlabelled.image], joint=self.spec.joint_norm)
        task = self.plain(out, train)
        total = torch.stack([task.total, *(self.plain(side, train).total for side in self._others(out))]).mean()
        logs = [log_shares(self.logits(one), self.task.kind) for one in (more, *self._others(more))]
        return Term(Loss(total, task.parts), pyramid_consistency(logs), {})

    def _others(self, out: Output) -> list[Output]:
        """Return the side predictions, of a segmentation on the image's grid."""
        given = out.decoded if self.of_decoder else out.levels
        size = out.logits[self.task.head].shape[2:]
        found = []
        for k, (place, side) in enumerate(zip(self.places, self.sides, strict=True)):
            x = PERTURB[(len(self.places) - 1 - k) % 3](given[place]) if self.own.perturb else given[place]
            logits = side(x.flatten(2).mean(2), x)
            if self.dense:
                mode = "bilinear" if len(size) == 2 else "trilinear"
                logits = nn.functional.interpolate(logits, size=size, mode=mode, align_corners=False)
            found.append(Output(out.levels, out.pooled, {self.task.head: logits}))
        return found
