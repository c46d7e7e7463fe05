"""The truth of a batch of masks: target and weights, by class or by region."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from allograft.core.task import Task
from allograft.objectives.labelled import Labelled

__all__ = ["Truth", "by_region", "region_table", "truth_of"]


class Truth(NamedTuple):
    """Target (N, *S) or (N, L, *S); weights of elements (N, *S), of cases (N,), of both (N, *S); None for 1."""

    target: Tensor
    element: Tensor | None
    case: Tensor | None
    both: Tensor | None


def truth_of(part: Labelled) -> Truth:
    """Return target and weights; elements below 0 get the weight 0 and any class."""
    grid = (len(part.logits), *part.logits.shape[2:])
    target, weight = part.target, part.weight
    case = weight if weight is not None and weight.ndim == 1 else None
    element = None if case is not None else weight
    if target.ndim == len(grid):
        target = target.long()
        if bool((absent := target < 0).any()):
            element = (~absent).float() if element is None else element * ~absent
            target = target.clamp(min=0)
    both = element
    if case is not None:
        spread = case.view(-1, *[1] * (len(grid) - 1)).expand(grid)
        both = spread if element is None else spread * element
    return Truth(target, element, case, both)


def region_table(task: Task) -> Tensor:
    """Return (R, L), 1 where a region of the task joins a class."""
    table = torch.zeros(len(task.regions), len(task.classes))
    for row, members in enumerate(task.scored.values()):
        table[row, list(members)] = 1
    return table


def by_region(p: Tensor, target: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and target of regions, both (N, R, *S): sums over the classes that a region joins.

    Args:
        p: probabilities (N, L, *S).
        target: (N, *S) class indices, or (N, L, *S).
        table: (R, L).
    """
    dense = target.ndim == p.ndim
    own = torch.einsum("bl...,rl->br...", target.to(p.dtype), table) if dense else table[:, target].movedim(0, 1)
    return torch.einsum("bl...,rl->br...", p, table), own
