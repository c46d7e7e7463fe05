"""Lineage: what each network of a run came from and has learnt since, so that a chain of stages is told truly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

from allograft.contracts import Objective
from allograft.core.input_spec import InputSpec
from allograft.data.cohort import Cohort
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.weights.card import WeightSource
from allograft.weights.plan import TransferPlan
from allograft.weights.source import SourceWeights

__all__ = ["Lineage", "Past", "data_read"]


class Past(NamedTuple):
    """A network's past.

    Args:
        parent: card of the weights that it began with, None where it took none.
        seen: data sets that it has been trained on in this run, in order.
        proof: what was proven when its values were written, "" where it took none.
        spec: how it was built, None where unknown.
    """

    parent: WeightSource | None
    seen: tuple[str, ...] = ()
    proof: str = ""
    spec: NetSpec | None = None


class Lineage:
    """The pasts of the networks of one run."""

    def __init__(self) -> None:
        self._pasts: WeakKeyDictionary[Network, Past] = WeakKeyDictionary()

    def began(
        self,
        net: Network,
        plan: TransferPlan,
        source: SourceWeights | None,
        proof: str = "",
        spec: NetSpec | None = None,
    ) -> None:
        """Write down what a network began with, how that was proven, and how it was built."""
        took = source is not None and any(entry.source is not None for entry in plan.entries)
        parent = source.card if source is not None and took else None
        self._pasts[net] = Past(parent, proof=proof if took else "", spec=spec)

    def spec(self, net: Network) -> NetSpec | None:
        """Return how a network was built, None where this run has not built it."""
        return self._pasts.get(net, Past(None)).spec

    def proof(self, net: Network) -> str:
        """Return what was proven when the network's values were written."""
        return self._pasts.get(net, Past(None)).proof

    def learnt(self, net: Network, data: Iterable[str]) -> None:
        """Write down that a network was trained on data sets."""
        past = self._pasts.get(net, Past(None))
        self._pasts[net] = past._replace(seen=tuple(dict.fromkeys((*past.seen, *data))))

    def source(self, net: Network, name: str, *, spec: NetSpec, expects: InputSpec, otherwise: Past) -> SourceWeights:
        """Return a network as a source whose card tells its whole past.

        Args:
            net: the network; on the meta device the source has shapes only.
            name: of the source.
            spec: how the network was built.
            expects: its input contract.
            otherwise: the past of a network that this run has not started itself.
        """
        past = self._pasts.get(net, otherwise)
        made = SourceWeights.of(net, name, expects, spec.encoder, seen=past.seen, parent=past.parent)
        made.card = made.card.model_copy(update={"width": spec.width, "until": spec.until})
        return made


def data_read(objective: Objective, cohorts: Mapping[str, Cohort]) -> tuple[str, ...]:
    """Return the names of the data sets that an objective reads, each once."""
    roles = [spec.role for spec in objective.streams().values()]
    return tuple(dict.fromkeys(cohorts[role].name for role in roles if role in cohorts))
