"""Taught: what two-stream objectives share whose target comes from a moving average of the student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Player, Progress
from allograft.core.task import Task
from allograft.functional.consistency import shares
from allograft.functional.ema import ema_decay, ema_update, teacher_of
from allograft.nets.network import Network
from allograft.objectives.two_streams import Images, TwoStreamCriterion, TwoStreams

__all__ = ["Taught", "TaughtCriterion"]


class Taught(TwoStreams):
    """Settings of an objective with a teacher.

    Args:
        decay: largest share of itself that the teacher keeps in a step, min(1 - 1 / (step + 1), decay), in [0, 1).
        buffers: running statistics of the teacher's norm layers: "average" like its parameters, "copy" the
            student's, or "own": moved by the teacher's own passes only.
        hand_on: which network is validated, tested and handed on.
    """

    decay: float = Field(default=0.99, ge=0, lt=1)
    buffers: Literal["average", "copy", "own"] = "average"
    hand_on: Literal["student", "teacher"] = "student"

    def decay_at(self, at: Progress) -> float:
        """Return the share of itself that the teacher keeps after a step."""
        return ema_decay(at.step, self.decay)


class TaughtCriterion(TwoStreamCriterion):
    """Owns the teacher, which no player moves and which follows the student after every step.

    The teacher works in the student's modes: batch statistics and dropout while training, frozen norm layers where
    the plan freezes them. Its passes leave its running statistics alone unless `buffers` is "own".
    """

    def __init__(self, spec: Taught, task: Task, net: Network) -> None:
        super().__init__(spec, task)
        self.taught, self.teacher = spec, teacher_of(net)
        if spec.buffers != "own":
            for module in self.teacher.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.momentum = 0.0

    def players(self, nets: Mapping[str, Network]) -> tuple[Player, ...]:
        """Return the student alone."""
        return (Player("all", [*nets["net"].parameters()]),)

    def ask(self, net: Network, *images: Images) -> list[Tensor]:
        """Return the teacher's probabilities (B, C, *E) of each set of images, one pass each, without gradient."""
        for mine, theirs in zip(self.teacher.modules(), net.modules(), strict=True):
            mine.training = theirs.training  # a validation of the teacher leaves its own mode behind
        with torch.no_grad():
            return [shares(self.logits(self.teacher(each)), self.task.kind) for each in images]

    def after_step(self, nets: Mapping[str, Network], at: Progress) -> None:
        """Move the teacher; after the first step it is the student."""
        ema_update(self.teacher, nets["net"], self.taught.decay_at(at), buffers=self.taught.buffers)

    def result(self, nets: Mapping[str, Network]) -> Network:
        """Return the student, or the teacher where it is to be handed on."""
        return self.teacher if self.taught.hand_on == "teacher" else nets["net"]
