"""Proof: after weights were written, the network must compute what the source network computes."""

from __future__ import annotations

from torch import nn

from allograft import catalog
from allograft.nets.network import Network
from allograft.weights.plan import TransferPlan
from allograft.weights.probe import ProbeReport, probe
from allograft.weights.source import SourceWeights

__all__ = ["prove"]


def prove(plan: TransferPlan, net: Network, source: SourceWeights) -> ProbeReport:
    """Check the source's fingerprint, and the features of every stage that was copied unchanged.

    Raises:
        PlanError: a stage that was copied does not compute what it computes in the source network.
    """
    card = source.card

    def reference() -> nn.Module:
        build = catalog.encoder_factory(card.encoder)
        return build(dims=card.dims, in_channels=card.expects.channels, width=1.0, drop_path=0.0)

    return probe(plan, net, source, reference)
