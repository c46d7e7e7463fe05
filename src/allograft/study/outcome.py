"""Outcome: how a run ended; a failed run is a row, not a gap."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from allograft.core.config import Config

__all__ = ["Done", "Failed", "Outcome", "RunKey", "Waiting", "attempt", "read_outcome"]


class RunKey(Config):
    """What tells one run of a study from another.

    Args:
        id: content id of everything that can change the run's numbers.
        recipe: the recipe's name.
        dataset: the data set's name.
        fold: number of the test fold, from 0.
        seed: the paired seed.
        label_fraction: share of the training labels used, in (0, 1].
    """

    id: str
    recipe: str
    dataset: str
    fold: int
    seed: int
    label_fraction: float

    @property
    def pair(self) -> tuple[str, int, int, float]:
        """What two recipes share when they are compared."""
        return (self.dataset, self.fold, self.seed, self.label_fraction)


class Done(Config):
    """A finished run.

    Args:
        key: which run.
        lr: learning rate chosen on validation.
        coverage: shares of numbers by fate, from the plan.
        scores: set-level test metrics by name.
        seconds: wall time by part.
        peak_memory_mb: largest resident memory of the worker, in MiB.
        environment: versions, precision and threads.
        notes: what a reader must know (input contract, licence, cache).
    """

    kind: Literal["done"] = "done"
    key: RunKey
    lr: float
    coverage: Mapping[str, float]
    scores: Mapping[str, float | None]
    seconds: Mapping[str, float]
    peak_memory_mb: float
    environment: Mapping[str, str]
    notes: tuple[str, ...] = ()


class Failed(Config):
    """A run that stopped with an error; it is tried again the next time."""

    kind: Literal["failed"] = "failed"
    key: RunKey
    error: str
    message: str
    traceback: str


class Waiting(Config):
    """A run that waits for labels by a person; running again continues it."""

    kind: Literal["waiting"] = "waiting"
    key: RunKey
    message: str


Outcome = Annotated[Done | Failed | Waiting, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Done | Failed | Waiting] = TypeAdapter(Outcome)


def attempt(job: Callable[[RunKey], Done | Failed | Waiting], key: RunKey) -> Done | Failed | Waiting:
    """Do a job; an exception is a `Failed`, so that one run never ends a study."""
    try:
        return job(key)
    except Exception as error:
        return Failed(key=key, error=type(error).__name__, message=str(error), traceback=traceback.format_exc())


def read_outcome(text: str) -> Done | Failed | Waiting:
    """Read an outcome from its JSON."""
    return _ADAPTER.validate_json(text)
