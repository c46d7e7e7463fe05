"""Ray executor: the same runs on a cluster, the same store; the only file that imports ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from allograft.core.errors import MissingExtra
from allograft.study.outcome import Done, Failed, RunKey, Waiting, attempt

__all__ = ["RayExecutor"]

Ended = Done | Failed | Waiting


class RayExecutor:
    """Runs jobs on a Ray cluster whose machines share the study's folder.

    Args:
        address: of a running cluster ("ray://host:port", "host:port", "auto"); None starts one here.
        pending: runs handed to Ray at a time, >= 1; bounds what a lost cluster can lose.
        cpus: processors that a run asks for.
        gpus: graphics processors that a run asks for.
        attempts: further tries of a run whose machine or process was lost; an error of the run
            itself is a `Failed` and never tried again.

    Raises:
        MissingExtra: ray is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        pending: int = 4,
        cpus: float = 1,
        gpus: float = 0,
        attempts: int = 3,
    ) -> None:
        self._ray = _import_ray()
        self.address = address
        self.pending = pending
        self.options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": attempts, "retry_exceptions": False}

    def map(self, job: Callable[[RunKey], Ended], keys: Sequence[RunKey]) -> Iterator[Ended]:
        """Yield every outcome exactly once, in the order in which runs end."""
        if not keys:
            return
        ray = self._ray
        ours = not ray.is_initialized()
        if ours:
            self._connect()
        try:
            yield from self._collect(job, keys)
        finally:
            if ours:
                ray.shutdown()

    def _connect(self) -> None:
        """Join the cluster, or start one that only this machine can reach: no dashboard, no usage report."""
        ray, quiet = self._ray, {"log_to_driver": False, "configure_logging": False}
        if self.address is not None:
            ray.init(address=self.address, **quiet)
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray puts the address of a network card in place of 127.0.0.1, but where it knows no clusters.
        constants = ray._private.ray_constants
        before, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
        try:
            ray.init(address="local", include_dashboard=False, **quiet)
        finally:
            constants.ENABLE_RAY_CLUSTER = before

    def _collect(self, job: Callable[[RunKey], Ended], keys: Sequence[RunKey]) -> Iterator[Ended]:
        ray = self._ray
        task = ray.remote(**self.options)(_call)
        waiting = list(reversed(keys))
        running: dict[Any, RunKey] = {}
        while waiting or running:
            while waiting and len(running) < self.pending:
                key = waiting.pop()
                running[task.remote(job, key, sys.path)] = key
            ready, _ = ray.wait(list(running), num_returns=1)
            for reference in ready:
                yield self._outcome(reference, running.pop(reference))

    def _outcome(self, reference: Any, key: RunKey) -> Ended:
        try:
            outcome: Ended = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error  # Ray wraps what a worker raised
            said = next(iter(str(cause).splitlines()), "")
            return Failed(key=key, error=type(cause).__name__, message=said, traceback=str(error))
        return outcome


def _call(job: Callable[[RunKey], Ended], key: RunKey, path: list[str]) -> Ended:
    """Run on the worker, with the driver's import path where plug-ins may lie."""
    sys.path += [entry for entry in path if entry not in sys.path]
    return attempt(job, key)


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        feature = "The Ray executor"
        raise MissingExtra(feature, "ray", "ray") from error
    module: ModuleType = ray
    return module
