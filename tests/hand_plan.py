"""A plan written by hand, so that tunings are tested without the code that builds plans."""

from __future__ import annotations

from torch import nn

from allograft.nets.network import Network, stage_of
from allograft.weights.plan import Entry, TransferPlan
from allograft.weights.rules import Action, Kind

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def hand_plan(net: Network, *, copied: bool = True) -> TransferPlan:
    """Return a plan that copies the encoder (or nothing) and leaves the rest fresh."""
    entries = []
    for key, value in net.state_dict().items():
        stage = stage_of(key, net.stages())
        task = stage == "decoder" or stage.startswith("head.")
        entries.append(
            Entry(
                target=key,
                stage=stage,
                kind=kind_of(net, key),
                shape=tuple(value.shape),
                action=Action.COPY if copied and not task else Action.FRESH,
                source=key if copied and not task else None,
            )
        )
    return TransferPlan(start="full" if copied else "scratch", entries=tuple(entries))


def kind_of(net: Network, key: str) -> Kind:
    module, _, name = key.rpartition(".")
    if isinstance(net.get_submodule(module), NORMS):
        return "norm_affine" if name in {"weight", "bias"} else "norm_stat"
    return "bias" if name == "bias" else "weight"
