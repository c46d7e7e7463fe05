"""Exponential moving average of a network: a teacher that never gets a gradient.

Tarvainen, Valpola. Mean teachers are better role models. NeurIPS 2017. arXiv:1703.01780
"""

from __future__ import annotations

import copy
import math
from typing import Literal, TypeVar

import torch
from torch import nn

__all__ = ["cosine_decay", "ema_decay", "ema_update", "teacher_of"]

N = TypeVar("N", bound=nn.Module)


def teacher_of(net: N) -> N:
    """Return a copy of a network that asks for no gradient."""
    teacher = copy.deepcopy(net)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher


def ema_decay(step: int, largest: float) -> float:
    """Return min(1 - 1 / (step + 1), largest): at step 0 the teacher becomes the student.

    >>> [ema_decay(t, 0.99) for t in (0, 1, 9)]
    [0.0, 0.5, 0.9]
    """
    return min(1.0 - 1.0 / (step + 1), largest)


def cosine_decay(fraction: float, smallest: float) -> float:
    """Return 1 - (1 - smallest) (cos(pi fraction) + 1) / 2: it rises from `smallest` to 1 over a run.

    Grill et al. Bootstrap your own latent. NeurIPS 2020. arXiv:2006.07733

    >>> [round(cosine_decay(t, 0.9), 3) for t in (0, 0.5, 1)]
    [0.9, 0.95, 1.0]
    """
    return 1.0 - (1.0 - smallest) * (math.cos(math.pi * fraction) + 1.0) / 2.0


@torch.no_grad()
def ema_update(
    teacher: nn.Module, student: nn.Module, decay: float, *, buffers: Literal["average", "copy", "own"] = "average"
) -> None:
    """Move a teacher towards its student: theta' <- a theta' + (1 - a) theta.

    Args:
        teacher: changed in place.
        student: of the same architecture.
        decay: a, in [0, 1]; 0 makes the teacher the student.
        buffers: running statistics of norm layers: "average" like parameters, "copy" the student's, or "own": left
            as the teacher's own forward passes make them (what SSL4MIS does, by omission). Counters are copied
            unless "own".
    """
    for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(theirs.to(mine.dtype), 1.0 - decay)
    if buffers == "own":
        return
    for own, given in zip(teacher.buffers(), student.buffers(), strict=True):
        if buffers == "copy" or not own.is_floating_point():
            own.copy_(given)
        else:
            own.lerp_(given.to(own.dtype), 1.0 - decay)
