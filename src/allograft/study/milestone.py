"""Milestone: a network on the way of a procedure."""

from __future__ import annotations

from typing import NamedTuple

from allograft.nets.network import Network

__all__ = ["Milestone"]


class Milestone(NamedTuple):
    """A network on the way, to be tested when the run is over, and how many labelled cases led to it."""

    stage: str
    labels: int
    net: Network
