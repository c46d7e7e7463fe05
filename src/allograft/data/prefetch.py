"""Prefetch: make the next batches in a thread while the step computes; the batches stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

from allograft.core.errors import ConfigError
from allograft.data.case import Batch

__all__ = ["Prefetched", "prefetch"]


class _Streams(Protocol):
    def at(self, step: int) -> Mapping[str, Batch]: ...


class Prefetched:
    """Streams that work ahead. Use as a context manager, or call `close`.

    Args:
        streams: any streams whose `at` is a pure function of the step.
        depth: steps to be ahead, >= 1.
        last: no step from this one on is made ahead, None for no end.
    """

    def __init__(self, streams: _Streams, depth: int, last: int | None = None) -> None:
        if depth < 1:
            msg = f"prefetch: depth must be at least 1, got {depth}. Use the streams themselves for none."
            raise ConfigError(msg)
        self.streams = streams
        self.depth = depth
        self.last = last
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._ready: dict[int, Future[Mapping[str, Batch]]] = {}

    def at(self, step: int) -> Mapping[str, Batch]:
        """Return the batches of `step`, whatever was asked before; errors of making them surface here."""
        end = step + self.depth + 1 if self.last is None else max(step + 1, min(step + self.depth + 1, self.last))
        for old in [s for s in self._ready if not step <= s < end]:
            self._ready.pop(old).cancel()
        for ahead in range(step, end):
            if ahead not in self._ready:
                self._ready[ahead] = self._worker.submit(self.streams.at, ahead)
        return self._ready[step].result()

    def close(self) -> None:
        """Stop the thread; what is being made is finished and dropped."""
        self._ready.clear()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prefetch(streams: _Streams, depth: int = 2, *, last: int | None = None) -> Prefetched:
    """Return `streams` working `depth` steps ahead in a thread."""
    return Prefetched(streams, depth, last)
