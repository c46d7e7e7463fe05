"""Full transfer: everything but the heads comes from the source.

Idea      Reuse all features of the source, down to the statistics of its normalisation layers; only
          what names the new classes is new.
Paper     Raghu, Zhang, Kleinberg, Bengio. Transfusion: understanding transfer learning for medical
          imaging. NeurIPS 2019.  arXiv:1902.07208
Formula   w = w_source for encoder tensors;  w = w_init(seed) for heads
Streams   none (acts before training).
Defaults  decoder = "fresh" (ours).  heads = "fresh" (paper).  channels = "auto" (ours).
          new_channels = "mean" (ours).  fill = "average" (ours).  kernel = "refuse" (ours).
Differs   1. Where input channels or dimension differ, the tensor is converted, and the plan says how;
          the paper replicates grey images instead. 2. heads = "match" keeps the rows of classes that the
          source names too, so that a network learns further classes, and heads = "copy" keeps whole heads, so
          that the same task goes on; the paper has new ones only.
Checked   tests/reference/test_full.py: copied tensors bit-equal to the file, heads untouched; features of
          the copied encoder equal the source network's; each option reaches its rows; a network with one
          class more answers for the old ones as the source does.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from allograft.contracts import Method
from allograft.core.errors import PlanError
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.build import build_plan
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import CONVERTED, Action, Rule, Where
from allograft.weights.source import SourceWeights

__all__ = ["Full"]


class Full(Method):
    """Copy all but the heads.

    Args:
        decoder: "fresh", or "copy" where the source has the same decoder.
        heads: "fresh", or "match": outputs for classes that the source names too keep their weights, others are
            fresh; or "copy", for the same task: every tensor of the heads is the source's. In a segmentation both
            need decoder: copy, whose features a head reads.
        channels: how 3 input channels become c: "auto", "sum", "mean" or "cycle" (see `Rule`).
        new_channels: where channels are known by name, what a new one starts from: "mean", "zero" or "fresh" (see
            `Rule`).
        fill: how 2-D kernels become 3-D: "average", "centre" or "slice" (see `Rule`).
        kernel: how kernels get another size: "refuse", "centre" or "average" (see `Rule`).

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
    heads: Literal["fresh", "match", "copy"] = "fresh"
    channels: Literal["auto", "sum", "mean", "cycle"] = "auto"
    new_channels: Literal["mean", "zero", "fresh"] = "mean"
    fill: Literal["average", "centre", "slice"] = "average"
    kernel: Literal["refuse", "centre", "average"] = "refuse"

    def plan(self, net: Network, source: SourceWeights | None) -> TransferPlan:
        """Return the plan; change nothing.

        Raises:
            PlanError: rows of a segmentation's head are to be kept without the decoder that they read.
        """
        rules = (
            *self._heads(net),
            Rule(action=Action.COPY, why="full transfer", **self.model_dump(include={*CONVERTED})),
        )
        return build_plan(net, source, rules, start=self.name)

    def _heads(self, net: Network) -> tuple[Rule, ...]:
        """Return the rules of heads and decoder where they are not copied like the rest."""
        fresh = ("head", "decoder") if self.decoder == "fresh" else ("head",)
        new = Rule(where=Where(stages=fresh), action=Action.FRESH, why="new task")
        if self.heads == "fresh":
            return (new,)
        if net.decoder is not None and self.decoder == "fresh":
            msg = f'start "full": heads = "{self.heads}" keeps rows that read the source\'s decoder. Set decoder: copy.'
            raise PlanError(msg)
        if self.heads == "copy":
            return ()
        where = Where(stages=tuple(f"head.{name}" for name in net.heads))
        return (Rule(where=where, action=Action.SELECT, why="classes by name", by="name"), new)
