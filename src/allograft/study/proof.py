"""Proof: after weights were written, the network must compute what the source network computes."""

from __future__ import annotations

from torch import nn

from allograft import catalog
from allograft.nets.encoders.cut import cut
from allograft.nets.network import Network
from allograft.weights.plan import TransferPlan
from allograft.weights.probe import ProbeReport, probe
from allograft.weights.source import SourceWeights

__all__ = ["prove"]

_PROVEN: dict[tuple[str, str], str] = {}


def prove(plan: TransferPlan, net: Network, source: SourceWeights) -> str:
    """Check the source's fingerprint, and the features of every stage that was copied unchanged.

    A plan that was proven in this process is not proven again: `apply` compares every copied tensor
    with the source bit for bit each time, and equal tensors compute equal features.

    Returns:
        What was proven, in words.

    Raises:
        PlanError: a stage that was copied does not compute what it computes in the source network.
    """
    card = source.card
    mark = (plan.content_id(), card.content_id())
    if mark in _PROVEN:
        return _PROVEN[mark]

    def reference() -> nn.Module:
        build = catalog.encoder_factory(card.encoder)
        whole = build(dims=card.dims, in_channels=card.expects.channels, width=card.width, drop_path=0.0)
        return cut(whole, card.until) if card.until else whole

    _PROVEN[mark] = _words(probe(plan, net, source, reference))
    return _PROVEN[mark]


def _words(found: ProbeReport) -> str:
    """Say what the probe has shown."""
    judged = sum(row.judged for row in found.rows)
    mark = "fingerprint met" if found.proof == "fingerprint" else "no fingerprint to meet"
    return f"{mark}; {judged} of {len(found.rows)} stages compute what the source does"
