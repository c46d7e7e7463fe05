"""Cells: the finished test predictions of recipes and seeds, with equal repeats for all. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence

from allograft.core.task import Task
from allograft.data.predictions import Predictions
from allograft.study.frames import from_frame
from allograft.study.judge import Cell
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore

__all__ = ["cells_of", "whole_seeds"]


def cells_of(store: RunStore, keys: Sequence[RunKey], task: Task, part: str = "test") -> list[Cell]:
    """Return recipe by seed, each with its folds in order; `part` names other predictions of the runs than of test."""
    folds: dict[tuple[str, int], list[Predictions]] = defaultdict(list)
    for key in sorted(keys, key=lambda key: key.fold):
        folds[key.recipe, key.seed].append(from_frame(store.predictions(key.id, part), task))
    return [Cell(recipe, seed, tuple(found)) for (recipe, seed), found in folds.items()]


def whole_seeds(keys: Sequence[RunKey], recipes: Container[str], done: Container[str]) -> list[int]:
    """Return the seeds that every one of the recipes has finished on every fold."""
    missing = {key.seed for key in keys if key.recipe in recipes and key.id not in done}
    return sorted({key.seed for key in keys} - missing)
