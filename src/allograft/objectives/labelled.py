"""Labelled cases: the part of a batch that a loss may see.

Cases whose target is absent are taken out before anything is computed, so nothing that stands in
their place can reach the loss or a gradient.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Output

__all__ = ["Labelled", "labelled"]


class Labelled(NamedTuple):
    """The N labelled cases of a batch.

    Args:
        logits: (N, O) or, of a segmentation, (N, L, *S).
        target: (N,), (N, L), (N, *S) or (N, L, *S).
        weight: (N,) or, of a segmentation, also (N, *S); None for 1.
    """

    logits: Tensor
    target: Tensor
    weight: Tensor | None


def labelled(out: Output, batch: Batch, task: Task) -> Labelled:
    """Return the cases whose target is present.

    Raises:
        DataError: the head is not in the batch, target or weight do not have the logits' shape, or a mask
            holds a value that is no class.
        ConfigError: the logits are not those of the task.
    """
    head = task.head
    if head not in batch.targets or head not in batch.present or head not in out.logits:
        msg = (
            f'head "{head}": expected logits, targets and present flags of that name; got logits {sorted(out.logits)}, '
            f"targets {sorted(batch.targets)}, present {sorted(batch.present)}. Name the task's head as in the data."
        )
        raise DataError(msg)
    logits, target, weight, here = out.logits[head], batch.targets[head], batch.weight, batch.present[head]
    if task.kind == "segmentation":
        _check_dense(logits, target, weight, task)
    else:
        _check_flat(logits, weight, here, task)
    if not bool(here.all()):
        logits, target, weight = logits[here], target[here], None if weight is None else weight[here]
    if task.kind == "segmentation" and target.ndim < logits.ndim:
        _check_classes(target, task)
    return Labelled(logits, target, weight)


def _check_flat(logits: Tensor, weight: Tensor | None, here: Tensor, task: Task) -> None:
    if logits.shape[1:] != (task.outputs,):
        msg = (
            f'head "{task.head}": expected logits (B, {task.outputs}) for a {task.kind} task, got '
            f"{tuple(logits.shape)}."
        )
        raise ConfigError(msg)
    if weight is not None and weight.shape != here.shape:
        msg = f"weight: expected one per case, {tuple(here.shape)}, got {tuple(weight.shape)}."
        raise DataError(msg)


def _check_dense(logits: Tensor, target: Tensor, weight: Tensor | None, task: Task) -> None:
    if logits.ndim not in {4, 5} or logits.shape[1] != task.outputs:
        msg = (
            f'head "{task.head}": expected logits (B, {task.outputs}, *S) for a segmentation, got '
            f"{tuple(logits.shape)}. Does the network have a decoder?"
        )
        raise ConfigError(msg)
    grid = (len(logits), *logits.shape[2:])
    if target.shape not in {grid, logits.shape}:
        msg = f'head "{task.head}": expected masks {grid} on the grid of the logits, got {tuple(target.shape)}.'
        raise DataError(msg)
    if weight is not None and weight.shape not in {grid, grid[:1]}:
        msg = f"weight: expected one per case or per element, {grid[:1]} or {grid}, got {tuple(weight.shape)}."
        raise DataError(msg)


def _check_classes(target: Tensor, task: Task) -> None:
    if target.numel() and int(target.max()) >= len(task.classes):
        msg = (
            f'head "{task.head}": a mask holds the value {int(target.max())}, the task has the classes 0 to '
            f"{len(task.classes) - 1}. Map the labels, or name the class in the task."
        )
        raise DataError(msg)
