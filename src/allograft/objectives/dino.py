"""DINO: a student learns to say of one view what its own slow average says, more sharply, of the other.

Idea      Self-distillation without labels: the teacher's answer is centred, so that no output always wins, and
          sharpened, so that not all win alike; the two keep each other's collapse in check.
Paper     Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin. Emerging properties in self-supervised vision
          transformers. ICCV 2021.  arXiv:2104.14294
Formula   P_s = softmax(s / T_s),  P_t = softmax((t - c) / T_t) without gradient,
          L = -1/2 mean P_t(view 1) . log P_s(view 2) - 1/2 mean P_t(view 2) . log P_s(view 1);
          c <- centring c + (1 - centring) mean t;  after each step teacher <- m teacher + (1 - m) student,
          m = 1 - (1 - momentum) (cos(pi r) + 1) / 2, r in [0, 1] over the run
Streams   images: two looks at each image; no target.
Defaults  student_temperature = 0.1 (paper).  teacher_temperature = 0.04 (paper's released code; in the paper it rises
          to 0.07 in 30 epochs).  centring = 0.9 (paper).  momentum = 0.996 (paper; in some hundred steps the teacher
          hardly moves).  freeze = 0.01, share of the steps before the last layer moves (paper: one epoch of 100).
          hidden = 2048 (paper).  bottleneck = 256 (paper).  output = 1024 (ours; paper 65536).  norm = false (paper).
          hand_on = student (ours; the paper's features are the teacher's, which in a short run is hardly trained).
Differs   1. Two views; the paper's further small crops (multi-crop) are left out.
          2. The last layer's rows have length 1, as the released code's have by default.
          3. Weight decay and temperatures are constant.
          4. With several processes the centre is that of all images; batch norms see their own process's.
Checked   tests/reference/test_dino.py: two steps of loss and centre equal lightly's; without centring a constant
          teacher wins, with it every output alike; the teacher gets no gradient and moves by the cosine schedule;
          the head begins as released; with norms in it images get answers of their own, without a tiny one does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.ema import cosine_decay
from allograft.functional.exact import in_full_precision
from allograft.nets.network import Network
from allograft.nets.projector import projector
from allograft.objectives.followed import FollowedCriterion
from allograft.objectives.pretext import IMAGES
from allograft.objectives.two_views import TwoViews, looks

__all__ = ["DINO", "cosines"]


@in_full_precision
def cosines(outputs: Tensor, rows: Tensor) -> Tensor:
    """Return (B, O): the cosines of outputs (B, D) and rows (O, D)."""
    return F.normalize(outputs, dim=1) @ F.normalize(rows, dim=1).T


class DINO(TwoViews, Method):
    """Minimise the cross-entropy of the student's answer and the teacher's on the other view.

    Args:
        student_temperature: T_s > 0.
        teacher_temperature: T_t > 0, smaller, so that the teacher is surer.
        centring: share of itself that the centre keeps in a step, in [0, 1).
        momentum: share of itself that the teacher keeps in the first step, in [0, 1]; it rises to 1.
        freeze: share of the steps before the last layer moves, in [0, 1).
        bottleneck: width before the last layer.
        norm: whether the head has batch norm behind its hidden layers.
        hand_on: which network is looked at and moves on to the task.
    """

    name: ClassVar[str] = "dino"
    paper: ClassVar[Reference] = Reference(
        title="Emerging Properties in Self-Supervised Vision Transformers",
        authors=("Caron", "Touvron", "Misra", "Jegou", "Mairal", "Bojanowski", "Joulin"),
        year=2021,
        venue="ICCV",
        arxiv="2104.14294",
    )

    student_temperature: float = Field(default=0.1, gt=0)
    teacher_temperature: float = Field(default=0.04, gt=0)
    centring: float = Field(default=0.9, ge=0, lt=1)
    momentum: float = Field(default=0.996, ge=0, le=1)
    freeze: float = Field(default=0.01, ge=0, lt=1)
    hidden: int = Field(default=2048, ge=0)
    bottleneck: int = Field(default=256, ge=2)
    output: int = Field(default=1024, ge=2)
    norm: bool = False
    hand_on: Literal["student", "teacher"] = "student"

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion, which owns head, teacher and centre."""
        return _DINOCriterion(self, nets["net"])


class _Head(nn.Module):
    """A perceptron, its output of length 1, and the cosine to as many directions as there are outputs."""

    def __init__(self, *widths: int, outputs: int, norm: bool) -> None:
        super().__init__()
        self.layers = projector(*widths, norm=norm, activation=nn.GELU)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):  # biases as large as weights would point all images one way
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.last = nn.Linear(widths[-1], outputs, bias=False)
        self.frozen = False

    def forward(self, pooled: Tensor) -> Tensor:
        """Return (B, O) in [-1, 1] for features (B, F)."""
        rows = self.last.weight.detach() if self.frozen else self.last.weight
        return cosines(self.layers(pooled), rows)


class _DINOCriterion(FollowedCriterion):
    projector: _Head
    centre: Tensor

    def __init__(self, spec: DINO, net: Network) -> None:
        width = net.shape.channels[-1]
        hidden = spec.hidden or width
        head = _Head(width, hidden, hidden, spec.bottleneck, outputs=spec.output, norm=spec.norm)
        super().__init__(net, head)
        self.spec = spec
        self.register_buffer("centre", torch.zeros(1, spec.output))

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; part: the entropy of the teacher's mean answer, 1 where all outputs are used alike."""
        self.projector.frozen = at.fraction < self.spec.freeze
        images = looks(batch[IMAGES])
        told = self.targets(nets["net"], *images)
        loss, used = self.distilled(told, [self.embed(nets["net"], image) for image in images])
        if self.training:
            self.recentre(self.whole(*told))
        return Loss(loss, {"used": used})

    def distilled(self, told: list[Tensor], said: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the loss of the teacher's and the student's outputs (B, O) of both views, and how many are used."""
        sure = [((t - self.centre) / self.spec.teacher_temperature).softmax(1) for t in told]
        logs = [F.log_softmax(s / self.spec.student_temperature, dim=1) for s in said]
        loss = -((sure[0] * logs[1]).sum(1).mean() + (sure[1] * logs[0]).sum(1).mean()) / 2
        mean = torch.cat(sure).mean(0)
        return loss, torch.special.entr(mean).sum() / torch.log(torch.tensor(float(len(mean))))

    def recentre(self, told: list[Tensor]) -> None:
        """Move the centre towards the teacher's mean output."""
        self.centre.lerp_(torch.cat(told).mean(0, keepdim=True), 1 - self.spec.centring)

    def after_step(self, nets: Mapping[str, Network], at: Progress) -> None:
        """Move the teacher, more and more slowly."""
        self.follow(nets, cosine_decay(at.fraction, self.spec.momentum))

    def result(self, nets: Mapping[str, Network]) -> Network:
        """Return the student, or the teacher where it is to be handed on."""
        return self.slow_net if self.spec.hand_on == "teacher" else nets["net"]
