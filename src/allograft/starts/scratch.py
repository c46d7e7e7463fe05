"""Scratch: no transfer; every tensor as the network was built from its seed.

Idea      The baseline of every study. With the tuning "frozen" it is the frozen-random baseline.
Paper     He, Zhang, Ren, Sun. Delving deep into rectifiers: surpassing human-level performance on
          ImageNet classification. ICCV 2015.  arXiv:1502.01852
Formula   w = w_init(seed)
Streams   none (acts before training).
Defaults  none.
Differs   1. Each architecture keeps its own default initialiser, which need not be the paper's.
          2. A source may be given, so that recipes of one study differ in one word; nothing of it is
          used and the plan lists all of it as unused.
Checked   tests/reference/test_scratch.py: no bit changes; the plan says so; two seeds differ.
"""

from __future__ import annotations

from typing import ClassVar

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.build import build_plan
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Action, Rule
from allograft.weights.source import SourceWeights

__all__ = ["Scratch"]


class Scratch(Method):
    """Start from the network's own initial values.

    >>> Scratch().name
    'scratch'
    """

    name: ClassVar[str] = "scratch"
    paper: ClassVar[Reference] = Reference(
        title=("Delving deep into rectifiers: surpassing human-level performance on ImageNet classification"),
        authors=("He", "Zhang", "Ren", "Sun"),
        year=2015,
        venue="ICCV",
        arxiv="1502.01852",
    )

    def plan(self, net: Network, source: SourceWeights | None) -> TransferPlan:
        """Return the plan; change nothing."""
        rules = (Rule(action=Action.FRESH, why="from scratch"),)
        return build_plan(net, source, rules, start=self.name)
