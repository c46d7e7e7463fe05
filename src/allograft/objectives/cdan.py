"""CDAN: a critic of domains that sees features together with what the network says of them.

Idea      Where classes form clusters, aligning features alone may lay one class upon another. The critic sees the
          outer product of features and probabilities, so that each class is aligned with itself.
Paper     Long, Cao, Wang, Jordan. Conditional adversarial domain adaptation. NeurIPS 2018.  arXiv:1705.10667
Formula   min_f max_D  L_task(f; source) - lambda L_domain(D(T(h)); source, target),  h = (f, g), g probabilities;
          T(h) = f x g (outer product), or, where it has more than `largest` entries,
          T(h) = (R_f f) * (R_g g) / sqrt(d) with fixed normal matrices of d rows;
          entropy: a row weighs 1 + exp(-H(g)) in its domain's mean;  lambda(p) = weight (2 / (1 + exp(-gamma p)) - 1)
Streams   source: images and targets.   target: images only; targets are never read. A step has as many cases as a
          supervised one, half of them of the source; an epoch is a pass over either stream by itself.
Defaults  weight = 1 (ours, that of the released code), as gamma = 10 (ours) and ramp = 1 (ours).  entropy = true
          (paper, CDAN+E). largest = 4096 (ours).  random = 1024 (ours, that of the released code).  hidden = 1024
          (ours, that of the released code).  level = none (ours): "pooled" for whole images, "deepest" in a
          segmentation. positions = 64 (ours).  labelled_batch = 0 (ours), half of the budget's batch.
          unlabelled_batch = 0 (ours), the other half.  joint_norm = false (ours).  label_smoothing = 0 (ours).
          class_weights = none (ours). segmentation = none (ours): SegmentationLoss().
Differs   1. Probabilities carry no gradient, as in the released code; nor do the weights 1 + exp(-H), where the
          released code reverses it.
          2. The critic has no dropout and moves with the recipe's rate (released code: 0.5, ten times the rate).
          3. Segmentation: each position of the level is a row; probabilities are averaged over the elements that it
          stands for. A multi-label task has the shares of no and yes of each label; H is their mean.
Checked   tests/reference/test_cdan.py: the loss in NumPy loops; products of random maps have the outer products'
          inner products on average; one certain class for all is DANN; weight 0 is source-only training bit for bit;
          features that only answers tell apart, a critic of features cannot, this one can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from allograft.contracts import Criterion, Loss, Method
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.functional.consistency import entropy, shares
from allograft.functional.domain_loss import told_apart
from allograft.functional.grl import reverse_gradient
from allograft.nets.discriminator import RowCritic
from allograft.nets.network import Network, Output
from allograft.objectives.aligned_features import Aligning, Eye, rows
from allograft.objectives.two_domains import TwoDomainCriterion

__all__ = ["CDAN"]


class CDAN(Aligning, Method):
    """Align features of source and target, each class with itself, by deceiving a critic of both.

    Classification (binary, multi-class, multi-label) and segmentation, in 2-D and 3-D.

    Args:
        entropy: cases that the network is sure of count more.
        largest: entries of the outer product above which random maps take its place, >= 0.
        random: entries of their product, >= 1.
        hidden: width of the critic's two hidden layers, >= 1.
    """

    name: ClassVar[str] = "cdan"
    paper: ClassVar[Reference] = Reference(
        title="Conditional Adversarial Domain Adaptation",
        authors=("Long", "Cao", "Wang", "Jordan"),
        year=2018,
        venue="NeurIPS",
        arxiv="1705.10667",
    )

    entropy: bool = True
    largest: int = Field(default=4096, ge=0)
    random: int = Field(default=1024, ge=1)
    hidden: int = Field(default=1024, ge=1)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns the critic and the random maps.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        return _CDAN(self, task, self.eye(nets["net"], task))


class _CDAN(TwoDomainCriterion):
    """The critic's loss on joint features."""

    of_features: Tensor | None
    of_answers: Tensor | None

    def __init__(self, spec: CDAN, task: Task, eye: Eye) -> None:
        super().__init__(spec, spec.supervised(task))
        self.eye, self.most, self.task, self.weighs = eye, spec.positions, task, spec.entropy
        self.outcomes = task.outputs if task.kind in {"multiclass", "segmentation"} else 2
        answers = 2 * task.outputs if self.outcomes == 2 and task.kind != "segmentation" else task.outputs
        width = eye.features * answers
        drawn = width > spec.largest
        width = spec.random if drawn else width
        self.register_buffer("of_features", torch.randn(eye.features, width) if drawn else None)
        self.register_buffer("of_answers", torch.randn(answers, width) if drawn else None)
        self.critic = RowCritic(width, spec.hidden)

    def term(self, net: Network, outs: tuple[Output, Output], weight: float) -> Loss:
        """Return how badly the critic tells the domains apart: it descends this, the network ascends it."""
        (one, sure), (two, surer) = (self.joint(out, weight) for out in outs)
        told = told_apart(self.critic(one), self.critic(two), (sure, surer) if self.weighs else None)
        return Loss(told.loss, {"domain": told.loss.detach(), "domain_accuracy": told.accuracy})

    def joint(self, out: Output, weight: float) -> tuple[Tensor, Tensor]:
        """Return T(h) of each row, (N, ...), and what the row weighs, (N,)."""
        found = self.eye(out)
        answers = shares(out.logits[self.task.head].detach(), self.task.kind)
        if self.task.kind != "segmentation":
            answers = answers.flatten(1)
        both = rows(torch.cat([found, _on_grid(answers, found.shape[2:]).to(found)], 1), self.most)
        features, g = both[:, : found.shape[1]], both[:, found.shape[1] :]
        doubt = entropy(g.reshape(len(g), self.outcomes, -1)).mean(1)
        return self._product(reverse_gradient(features, weight), g), 1 + (-doubt).exp()

    def _product(self, features: Tensor, g: Tensor) -> Tensor:
        """Return (N, F A), or (N, d) by random maps."""
        if self.of_features is None or self.of_answers is None:
            return (features[:, :, None] * g[:, None]).flatten(1)
        mapped = (features @ self.of_features) * (g @ self.of_answers)
        return mapped / math.sqrt(mapped.shape[1])


def _on_grid(answers: Tensor, grid: Sequence[int]) -> Tensor:
    """Return (B, A, *grid) for answers (B, A) or (B, A, *S): repeated, or averaged over what a position stands for."""
    if answers.ndim == 2:
        return answers.view(*answers.shape, *[1] * len(grid)).expand(*answers.shape, *grid)
    if not grid:
        return answers.flatten(2).mean(2)
    return F.interpolate(answers, list(grid), mode="area")
