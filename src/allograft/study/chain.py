"""Chain: the stages of one run from the weights it began with to the task, as data for reports. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from allograft.core.config import Config
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore

__all__ = ["PLAN_FILE", "Chain", "Step", "read_chains", "read_plan"]

PLAN_FILE = "plan-table.json"
"""In a run's folder: what was transferred, of the last stage at the top and of every stage under "stages"."""


class Step(Config):
    """One stage.

    Args:
        stage: its name.
        data: data sets that it read.
        steps: in all, the learning-rate search included.
        lr: the rate that was used.
        metric: title of what its validation was judged by, "" where it was not judged.
        validation: that metric on validation, of the weights that were handed on.
        start, tuning, source: as in its plan; `source` None where no weights were taken.
        coverage: where the network's numbers came from when it began, in one line.
        proof: what was proven of the weights that it took, "" where it took none.
        rows: its plan's table by part of the network.
        notes: of its plan.
        unused: tensors of the source without a use.
    """

    stage: str
    data: tuple[str, ...] = ()
    steps: int = 0
    lr: float
    metric: str = ""
    validation: float | None = None
    start: str
    tuning: str
    source: str | None
    coverage: str
    proof: str = ""
    rows: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    unused: int = 0


class Chain(Config):
    """The stages of a run in order, one where nothing but the task is trained.

    Args:
        run: which run: the first finished one of its recipe.
        steps: its stages.
    """

    run: RunKey
    steps: tuple[Step, ...]


def read_plan(store: RunStore, key: RunKey) -> dict[str, Any]:
    """Return what a finished run wrote about its plans."""
    path = store.run_folder(key.id) / PLAN_FILE
    return dict(json.loads(path.read_text(encoding="utf-8")))


def read_chains(store: RunStore, keys: Sequence[RunKey]) -> dict[str, Chain]:
    """Return by recipe the chain of its first run in `keys`; runs of older versions have written none."""
    found: dict[str, Chain] = {}
    for key in keys:
        if key.recipe in found:
            continue
        try:
            steps = tuple(Step.model_validate(one) for one in read_plan(store, key).get("stages", ()))
        except ValidationError:
            continue
        if steps:
            found[key.recipe] = Chain(run=key, steps=steps)
    return found
