"""Local executor: a loop, or one process per worker on this machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import NoReturn

from allograft.study.outcome import Done, Failed, RunKey, Waiting, attempt

__all__ = ["LocalExecutor"]

Ended = Done | Failed | Waiting
LOST = "a worker process died (killed, or out of memory) while this run was under way"


class LocalExecutor:
    """Runs jobs on this machine.

    A worker that dies takes its pool with it. The runs that were under way then are tried once more,
    each alone, so that the one that kills its worker is told from those that stood beside it.

    Args:
        workers: processes; 1 runs in this process.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    def map(self, job: Callable[[RunKey], Ended], keys: Sequence[RunKey]) -> Iterator[Ended]:
        """Yield every outcome exactly once, in the order in which runs end."""
        if self.workers == 1:
            yield from (attempt(job, key) for key in keys)
            return
        waiting = list(reversed(keys))
        while waiting:
            suspects: list[RunKey] = []
            yield from self._pool(job, waiting, suspects, workers=self.workers)
            for key in suspects:
                again: list[RunKey] = []
                yield from self._pool(job, [key], again, workers=1)
                if again:
                    yield Failed(key=key, error="WorkerLost", message=LOST, traceback="")

    @staticmethod
    def _pool(
        job: Callable[[RunKey], Ended], waiting: list[RunKey], suspects: list[RunKey], *, workers: int
    ) -> Iterator[Ended]:
        """Run `waiting` (emptied from its end) in one pool; runs under way when it broke go to `suspects`."""
        context = multiprocessing.get_context("spawn")
        running: dict[Future[Ended], RunKey] = {}
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < workers:
                        running[pool.submit(attempt, job, waiting[-1])] = waiting[-1]
                        waiting.pop()
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        outcome = future.result()
                        del running[future]
                        yield outcome
            except BrokenProcessPool:
                suspects += running.values()


def _end_with_parent() -> None:
    """Make this worker end when the study's process does.

    A killed parent cannot tell its workers; they would wait for ever, or go on with a run that the
    study, started again, has given to somebody else.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"

    def watch() -> NoReturn:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
