"""Reference: the source's own encoder, filled with all its tensors and changed in none."""

from __future__ import annotations

from torch import nn

from allograft.nets.network import Network
from allograft.weights.apply import apply
from allograft.weights.build import build_plan
from allograft.weights.rules import Action, Rule
from allograft.weights.source import SourceWeights

__all__ = ["fill"]


def fill(source: SourceWeights, encoder: nn.Module) -> nn.Module:
    """Give an encoder all tensors of a source, bit by bit, and return it.

    Args:
        source: the weights.
        encoder: a new encoder of the architecture, dimension and channels that the card names.

    Raises:
        PlanError: a tensor is missing, does not fit, or would need a conversion.
    """
    net = Network(encoder, {})
    rule = Rule(action=Action.COPY, why="the source's own network")
    plan = build_plan(net, source, (rule,), start="reference")
    changed = [entry.target for entry in plan.entries if entry.action not in {Action.COPY, Action.FRESH}]
    if changed and not plan.problems:
        problem = f"{len(changed)} tensors need a conversion, first {changed[0]}; this is not the source's encoder."
        plan = plan.model_copy(update={"problems": (problem,)})
    apply(plan, net, source, seed=0)
    return encoder
