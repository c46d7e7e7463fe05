"""Execute a study: skip what is finished, map the rest, finish each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Protocol

from allograft.study.outcome import Done, Failed, RunKey, Waiting
from allograft.study.store import RunStore

__all__ = ["Executor", "execute", "rounds"]

Ended = Done | Failed | Waiting


class Executor(Protocol):
    """Where runs execute."""

    def map(self, job: Callable[[RunKey], Ended], keys: Sequence[RunKey]) -> Iterator[Ended]:
        """Yield every outcome exactly once, in any order; an error of a run is a `Failed`."""


def rounds(keys: Sequence[RunKey]) -> list[list[RunKey]]:
    """Group runs so that each round gives every recipe the same seed, data, folds and fractions."""
    ordered = sorted(keys, key=lambda key: key.seed)
    return [list(group) for _, group in groupby(ordered, key=lambda key: key.seed)]


def execute(
    keys: Sequence[RunKey],
    store: RunStore,
    executor: Executor,
    job: Callable[[RunKey], Ended],
    *,
    seconds: float | None = None,
    report: Callable[[Ended], None] = lambda _: None,
) -> list[RunKey]:
    """Run what the store lacks and return the runs that were asked for within the time.

    With `seconds` whole seeds are run for all recipes while time lasts: a round starts only if the
    longest round so far still fits, so that every arm keeps equal repeats.

    Args:
        keys: all runs of the study.
        store: where finished runs are skipped and failures are kept.
        executor: where runs execute.
        job: makes one run; finishes it in the store itself.
        seconds: time allowed, None for all.
        report: called with each new outcome.
    """
    begun, longest, asked = time.monotonic(), 0.0, list[RunKey]()
    batches = rounds(keys)
    if seconds is None:  # nothing to stop between: one batch, so that workers start once
        batches = [[key for batch in batches for key in batch]]
    for batch in batches:
        used = time.monotonic() - begun
        todo = [key for key in batch if not isinstance(store.outcome(key.id), Done)]
        if seconds is not None and todo and asked and used + longest > seconds:
            break
        for outcome in executor.map(job, todo):
            if not isinstance(outcome, Done):
                store.fail(outcome)
            report(outcome)
        longest = max(longest, time.monotonic() - begun - used) if todo else longest
        asked += batch
    return asked
