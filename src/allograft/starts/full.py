"""Full transfer: everything but the heads comes from the source.

Idea      Reuse all features of the source, down to the statistics of its normalisation layers; only
          what names the new classes is new.
Paper     Raghu, Zhang, Kleinberg, Bengio. Transfusion: understanding transfer learning for medical
          imaging. NeurIPS 2019.  arXiv:1902.07208
Formula   w = w_source for encoder tensors;  w = w_init(seed) for heads
Streams   none (acts before training).
Defaults  decoder = "fresh" (ours).  channels = "auto" (ours).  fill = "average" (ours).
Differs   1. Where input channels or dimension differ, the tensor is converted, and the plan says how;
          the paper replicates grey images instead.
Checked   tests/reference/test_full.py: copied tensors bit-equal to the file, heads untouched; features of
          the copied encoder equal the source network's; each option reaches its rows.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.build import build_plan
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action, Rule, Where
from allograft.weights.source import SourceWeights

__all__ = ["Full"]


class Full(Method):
    """Copy all but the heads.

    Args:
        decoder: "fresh", or "copy" where the source has the same decoder.
        channels: how 3 input channels become c: "auto", "sum", "mean" or "cycle" (see `Rule`).
        fill: how 2-D kernels become 3-D: "average", "centre" or "slice" (see `Rule`).

    >>> Full(fill="centre").decoder
    'fresh'
    """

    name: ClassVar[str] = "full"
    paper: ClassVar[Reference] = Reference(
        title="Transfusion: understanding transfer learning for medical imaging",
        authors=("Raghu", "Zhang", "Kleinberg", "Bengio"),
        year=2019,
        venue="NeurIPS",
        arxiv="1902.07208",
    )

    decoder: Literal["fresh", "copy"] = "fresh"
    channels: Literal["auto", "sum", "mean", "cycle"] = "auto"
    fill: Literal["average", "centre", "slice"] = "average"

    def plan(self, net: Network, source: SourceWeights | None) -> TransferPlan:
        """Return the plan; change nothing."""
        fresh = ("head", "decoder") if self.decoder == "fresh" else ("head",)
        rules = (
            Rule(where=Where(stages=fresh), action=Action.FRESH, why="new task"),
            Rule(action=Action.COPY, why="full transfer", channels=self.channels, fill=self.fill),
        )
        return build_plan(net, source, rules, start=self.name)
