"""Roster: which cases come when in a stream, and with which targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.order import balanced_places, places
from allograft.data.targets import check_targets, is_soft, number_targets

__all__ = ["Roster"]


@dataclass(frozen=True, kw_only=True)
class Roster:
    """Who comes when, and with which targets; what image and feature streams share.

    Args:
        cohort: the cases.
        batch: cases in a step, >= 1; may exceed the number of cases.
        labelled: whether targets are handed out; otherwise they are never looked at.
        balance: every class equally often, for binary and multi-class tasks.
        tasks: heads to hand out targets for; empty means the cohort's own task.
    """

    cohort: Cohort
    batch: int
    labelled: bool = True
    balance: bool = False
    tasks: tuple[Task, ...] = ()

    def check(self, name: str) -> None:
        """Refuse what could not work, before the first step.

        Raises:
            ConfigError: a batch of 0, or balance where there are no classes to balance.
            DataError: no cases, no labels in a labelled stream, or a target that does not fit.
        """
        if self.batch < 1:
            msg = f"stream {name!r}: batch must be at least 1, got {self.batch}."
            raise ConfigError(msg)
        if not self.cohort.cases:
            msg = f"stream {name!r}: cohort {self.cohort.name} has no cases. Check the split and the filters."
            raise DataError(msg)
        if self.balance and (not self.labelled or self.cohort.task.kind not in {"binary", "multiclass"}):
            kind = self.cohort.task.kind if self.labelled else "unlabelled"
            msg = f"stream {name!r}: balance needs labels of a binary or multi-class task, this stream is {kind}."
            raise ConfigError(msg)
        if not self.labelled:
            return
        for task in self.heads:
            check_targets(self.cohort.cases, task, where=f"stream {name!r}")
        if not any(task.head in case.targets for case in self.cohort for task in self.heads):
            heads = ", ".join(task.head for task in self.heads)
            msg = f"stream {name!r}: none of {len(self.cohort)} cases has a target for {heads}. Check the label column."
            raise DataError(msg)

    @property
    def heads(self) -> tuple[Task, ...]:
        """The tasks whose targets are handed out."""
        return self.tasks or (self.cohort.task,)

    def cases(self, seed: int, name: str, step: int) -> list[Case]:
        """Return the `batch` cases of a step."""
        if self.balance:
            found = balanced_places(seed, name, self._classes, self.batch, step)
        else:
            found = places(seed, name, len(self.cohort), self.batch, step)
        return [self.cohort.cases[i] for i in found]

    def numbers(self, cases: Sequence[Case]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return targets and their presence by head, all but masks; empty where unlabelled."""
        targets, present = {}, {}
        if self.labelled:
            for task in self.heads:
                if task.kind != "segmentation":
                    soft = self._soft[task.head]
                    targets[task.head], present[task.head] = number_targets(cases, task, soft=soft)
        return targets, present

    def weight(self, cases: Sequence[Case]) -> Tensor | None:
        """Return (B,) weights, or None."""
        weights = self.cohort.weights
        if weights is None:
            return None
        return torch.tensor([weights.get(case.id, 1.0) for case in cases], dtype=torch.float32)

    @cached_property
    def _soft(self) -> dict[str, bool]:
        return {task.head: is_soft(self.cohort.cases, task) for task in self.heads}

    @cached_property
    def _classes(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the cases of each class that occurs; unlabelled cases take no part."""
        task = self.cohort.task
        members: dict[int, list[int]] = {}
        for i, case in enumerate(self.cohort.cases):
            value = case.targets.get(task.head)
            if value is not None and not isinstance(value, ImageRef):
                index = _likeliest(value)
                members.setdefault(index, []).append(i)
        return tuple(tuple(members[k]) for k in sorted(members))


def _likeliest(value: float | tuple[float, ...]) -> int:
    return value.index(max(value)) if isinstance(value, tuple) else int(value)
