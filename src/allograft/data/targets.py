"""Targets: labels of cases as tensors, with what is absent marked and filled by zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.store import Store

__all__ = ["check_targets", "is_soft", "mask_targets", "number_targets"]


def is_soft(cases: Sequence[Case], task: Task) -> bool:
    """Tell whether any case of a binary or multi-class task carries probabilities instead of a class."""
    if task.kind not in {"binary", "multiclass"}:
        return False
    return any(isinstance(c.targets.get(task.head), tuple) and not _is_mask(c, task) for c in cases)


def check_targets(cases: Sequence[Case], task: Task, *, where: str) -> None:
    """Check every target once, before training.

    Raises:
        DataError: a target does not fit the task; names the case.
    """
    for case in cases:
        if task.head in case.targets:
            problem = _problem(case, task)
            if problem:
                msg = f"{where}, case {case.id!r}, target {task.head!r}: {problem} Correct the label."
                raise DataError(msg)


def number_targets(cases: Sequence[Case], task: Task, *, soft: bool = False) -> tuple[Tensor, Tensor]:
    """Return targets and whether they are there.

    Returns:
        (B,) long classes for binary and multi-class, or (B, L) float probabilities where `soft`;
        (B, L) float for multi-label and regression. And (B,) bool; absent targets hold 0.
    """
    present = torch.tensor([task.head in case.targets for case in cases], dtype=torch.bool)
    values = [case.targets.get(task.head) for case in cases]
    if task.kind in {"binary", "multiclass"} and not soft:
        return torch.tensor([int(_number(v)) for v in values], dtype=torch.long), present
    rows = [_row(value, task) for value in values]
    return torch.tensor(rows, dtype=torch.float32).reshape(len(cases), len(task.classes)), present


def mask_targets(cases: Sequence[Case], task: Task, store: Store) -> tuple[Tensor, Tensor]:
    """Return masks (B, *S) long, zeros where absent, and (B,) bool whether they are there."""
    present = torch.tensor([task.head in case.targets for case in cases], dtype=torch.bool)
    return torch.from_numpy(store.masks([case.id for case in cases], task.head)), present


def _number(value: Any) -> float:
    return 0.0 if value is None else float(value)


def _row(value: Any, task: Task) -> list[float]:
    """Return L numbers: zeros where absent, one-hot for a class, the values themselves otherwise."""
    if value is None:
        return [0.0] * len(task.classes)
    if isinstance(value, tuple):
        return [float(v) for v in value]
    if task.kind == "regression":
        return [float(value)]
    return [float(i == value) for i in range(len(task.classes))]


def _is_mask(case: Case, task: Task) -> bool:
    return isinstance(case.targets.get(task.head), ImageRef)


def _problem(case: Case, task: Task) -> str:
    """Return what is wrong with a target, "" for nothing."""
    value, length = case.targets[task.head], len(task.classes)
    if task.kind == "segmentation":
        return "" if isinstance(value, ImageRef) else f"a segmentation task needs a mask, got {value!r}."
    if isinstance(value, ImageRef):
        return f"a {task.kind} task needs a number, got the mask {value}."
    if isinstance(value, tuple):
        return _tuple_problem(value, task)
    if task.kind == "multilabel":
        return f"a multi-label task needs {length} values of 0 or 1, got {value!r}."
    if task.kind == "regression":
        return "" if length == 1 else f"expected {length} values, got {value!r}."
    known = value == int(value) and 0 <= value < length
    return "" if known else f"expected a class in 0 to {length - 1}, got {value!r}."


def _tuple_problem(value: tuple[Any, ...], task: Task) -> str:
    if len(value) != len(task.classes):
        return f"expected {len(task.classes)} values (one for each class), got {len(value)}."
    if task.kind != "regression" and not all(0 <= v <= 1 for v in value):
        return f"expected values in [0, 1], got {value!r}."
    if task.kind in {"binary", "multiclass"} and abs(sum(value) - 1) > 1e-3:
        return f"probabilities must sum to 1, got {sum(value):.4f}."
    return ""
