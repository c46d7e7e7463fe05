"""Supply: how a run's batches reach its steps: each process makes its own share, ahead of the step where it can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from allograft.contracts import Streams
from allograft.data.case import Batch
from allograft.data.prefetch import prefetch
from allograft.data.streams import StoreStreams
from allograft.train.device import Live, share_of

__all__ = ["supply"]

AHEAD = 2
"""Steps to be ahead (ours): one hides the mean time of making a batch, a second evens out its changes."""


@contextmanager
def supply(streams: Streams, live: Live, steps: int) -> Iterator[Streams]:
    """Yield what hands this process its batches: the same, bit for bit, whoever makes them and when.

    Images are cut and augmented in a thread while the step before computes, where a processor is free for it. Features
    of a cache lie ready; streams of another kind are asked when their step comes.

    Args:
        streams: of the run.
        live: the device in use.
        steps: of the run; none behind them is made.
    """
    shared = streams if live.world == 1 else _Share(streams, live.rank, live.world)
    if not (isinstance(streams, StoreStreams) and live.spare):
        yield shared
        return
    with prefetch(shared, AHEAD, last=steps) as ahead:
        yield ahead


@dataclass(frozen=True)
class _Share:
    """This process's part of each batch; of images no other part is made."""

    streams: Streams
    rank: int
    world: int

    def at(self, step: int) -> Mapping[str, Batch]:
        """Return the parts for `step`."""
        if isinstance(self.streams, StoreStreams):
            return self.streams.at(step, rank=self.rank, world=self.world)
        return {name: share_of(part, self.rank, self.world) for name, part in self.streams.at(step).items()}
