"""CCT: cross-consistency training, decoders that see perturbed features agree with the one that does not.

Idea      Classes lie apart in the encoder's features rather than in the image. So features are perturbed, and further
          decoders must still say what the main one says: the encoder learns features that stand it.
Paper     Ouali, Hudelot, Tami. Semi-supervised semantic segmentation with cross-consistency training. CVPR 2020.
          arXiv:2003.09005
Formula   L = mean_k L_task(g_k(z_k); labelled) + w(t) mean_{k>0} mse(p_k, sg(p_0)),  z = encoder(x), z_0 = z, z_1 with
          noise, z_2 with whole channels dropped, z_3 without its most active positions; p = softmax
          w(t) = weight exp(-5 (1 - t / ramp)^2); sg stops the gradient
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  noise = 0.3 (paper's code).  rate = 0.5 (paper's code).  low = 0.7 (ours, that of SSL4MIS).  high = 0.9
          (ours, that of SSL4MIS).  supervise = "all" (ours, that of SSL4MIS; the paper has "main").  weight = 0.1
          (ours, that of SSL4MIS; the released code has 30).  ramp = 1 (ours, that of SSL4MIS; the released code 0.1).
          labelled_batch = 0 (ours), half of the budget's batch. unlabelled_batch = 0 (ours), the other half.
          joint_norm = false (ours).  label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none,
          Dice + cross-entropy (ours, as SSL4MIS).
Differs   1. Three of the paper's perturbations, one decoder each (those of SSL4MIS).
          2. Decoders are the main one's copies, as it begins, pretrained or fresh; the perturbations drive them apart.
          3. Every level that the decoder reads is perturbed (as SSL4MIS; the paper's decoders read one).
          4. With weight 0 there are no further decoders at all, whatever `supervise` says: that is supervised
          training.
          5. Classification: the copies are of the head; a level of one position has no most active position and keeps
          it.
Checked   tests/reference/test_cct.py: the loss typed out; each perturbation's law; weight 0 is supervised training
          bit for bit; the main decoder gets no gradient from unlabelled cases, the encoder does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.consistency import shares
from allograft.functional.perturb import channel_dropout, feature_dropout, feature_noise
from allograft.nets.network import Head, Network, Output
from allograft.objectives.two_streams import Term, TwoStreamCriterion, TwoStreams, passes

__all__ = ["CCT"]

Levels = tuple[Tensor, ...]


class CCT(TwoStreams, Method):
    """Ask decoders that see perturbed features to agree with the main one.

    Args:
        noise: spread of the multiplying noise, >= 0.
        rate: probability of dropping a channel, in [0, 1).
        low: smallest share of the largest activity from which positions are dropped, in [0, 1].
        high: largest such share, at least `low`.
        supervise: who learns from labelled cases: "all" decoders, each from its own features, or the "main" one.
        weight: largest weight of the consistency, >= 0.
        ramp: share of the steps over which it grows, in [0, 1].
        labelled_batch: labelled cases in a step, 0 for half of the budget's batch.
        unlabelled_batch: unlabelled cases in a step, 0 for half of the budget's batch.
        joint_norm: pass both in one batch, sharing normalisation statistics.
        label_smoothing: of the task's loss, in [0, 1).
        class_weights: of the task's loss, one per class, > 0; empty for 1.
        segmentation: settings of the task's loss on labelled cases of a segmentation.
    """

    name: ClassVar[str] = "cct"
    paper: ClassVar[Reference] = Reference(
        title="Semi-Supervised Semantic Segmentation with Cross-Consistency Training",
        authors=("Ouali", "Hudelot", "Tami"),
        year=2020,
        venue="CVPR",
        arxiv="2003.09005",
    )

    weight: float = Field(default=0.1, ge=0)
    noise: float = Field(default=0.3, ge=0)
    rate: float = Field(default=0.5, ge=0, lt=1)
    low: float = Field(default=0.7, ge=0, le=1)
    high: float = Field(default=0.9, ge=0, le=1)
    supervise: Literal["all", "main"] = "all"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            msg = f"low is {self.low:g}, above high, {self.high:g}: swap them"
            raise ValueError(msg)
        return self

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled cases and, without targets, unlabelled ones."""
        return self.two_streams()

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns the further decoders.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        return _CCT(self, task, nets["net"])

    def perturbed(self, levels: Levels) -> tuple[Levels, Levels, Levels]:
        """Return the levels (B, c_i, *s_i) in three ways: with noise, without channels, without active positions."""
        return (
            tuple(feature_noise(x, self.noise) for x in levels),
            tuple(channel_dropout(x, self.rate) for x in levels),
            tuple(feature_dropout(x, self.low, self.high) for x in levels),
        )


class _CCT(TwoStreamCriterion):
    """The main decoder's loss, the others', and how far they are apart."""

    def __init__(self, spec: CCT, task: Task, net: Network) -> None:
        super().__init__(spec, task)
        self.own = spec
        self.others = nn.ModuleList(_copy(net, task.head) for _ in range(3 if spec.weight else 0))

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the loss on labelled cases, and how far the others are from the main decoder on unlabelled ones."""
        out, more = passes(net, [train.image, unlabelled.image], joint=self.spec.joint_norm)
        task = self.plain(out, train)
        if self.own.supervise == "all":
            others = [self.plain(one, train).total for one in self._others(out.levels)]
            task = Loss(torch.stack([task.total, *others]).mean(), task.parts)
        main = shares(self.logits(more), self.task.kind).detach()  # unlabelled cases do not move the main decoder
        found = [shares(self.logits(one), self.task.kind) for one in self._others(more.levels)]
        return Term(task, torch.stack([nn.functional.mse_loss(one, main) for one in found]).mean(), {})

    def _others(self, levels: Levels) -> list[Output]:
        """Return what the further decoders say, each of levels perturbed in its own way."""
        seen = self.own.perturbed(levels)
        return [other.decode(x) for other, x in zip(cast("list[Network]", self.others), seen, strict=True)]


def _copy(net: Network, head: str) -> Network:
    """Return decoder and head without the encoder; they learn even where the network's own are frozen."""
    own = Network(nn.Identity(), {head: cast("Head", copy.deepcopy(net.heads[head]))}, copy.deepcopy(net.decoder))
    return own.requires_grad_(requires_grad=True)
