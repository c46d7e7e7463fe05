"""Slim hybrid: pretrained low stages at full width, narrower stages above from scratch.

Idea      If reuse sits in the low layers, the upper ones need neither the source's weights nor its
          width. Keeps most of the speed of full transfer with a much smaller network.
Paper     Raghu, Zhang, Kleinberg, Bengio. Transfusion: understanding transfer learning for medical
          imaging. NeurIPS 2019.  arXiv:1902.07208
Formula   w_i = w_source_i for stages i <= until;  w_i = w_init(seed) with fewer channels above
Streams   none (acts before training).
Defaults  until = "stage2" (paper).  channels = "auto" (ours).  new_channels = "mean" (ours).
          fill = "average" (ours).  kernel = "refuse" (ours).
Differs   1. A start fills tensors and builds no network: the narrower stages are asked for in the
          network's own settings, and a network that is not narrower there is refused (it would be
          the start "partial"). 2. How much narrower is therefore the network's choice.
Checked   tests/reference/test_slim.py: bit-equal up to `until`, as built above; a network of full width
          is refused; fewer numbers than the source.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from allograft.contracts import Method
from allograft.core.errors import PlanError, did_you_mean
from allograft.core.reference import Reference
from allograft.nets.network import Network, stage_of
from allograft.weights.build import build_plan
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import CONVERTED, Action, Rule, Where
from allograft.weights.source import SourceWeights

__all__ = ["Slim"]


class Slim(Method):
    """Copy the low stages into a network whose stages above are narrower than the source's.

    Args:
        until: name of the last stage that is copied at full width.
        channels: how 3 input channels become c (see `Rule`).
        new_channels: where channels are known by name, what a new one starts from: "mean", "zero" or "fresh" (see
            `Rule`).
        fill: how 2-D kernels become 3-D (see `Rule`).
        kernel: how kernels get another size: "refuse", "centre" or "average" (see `Rule`).

    >>> Slim(until="stage1").name
    'slim'
    """

    name: ClassVar[str] = "slim"
    paper: ClassVar[Reference] = Reference(
        title="Transfusion: understanding transfer learning for medical imaging",
        authors=("Raghu", "Zhang", "Kleinberg", "Bengio"),
        year=2019,
        venue="NeurIPS",
        arxiv="1902.07208",
    )

    until: str = "stage2"
    channels: Literal["auto", "sum", "mean", "cycle"] = "auto"
    new_channels: Literal["mean", "zero", "fresh"] = "mean"
    fill: Literal["average", "centre", "slice"] = "average"
    kernel: Literal["refuse", "centre", "average"] = "refuse"

    def plan(self, net: Network, source: SourceWeights | None) -> TransferPlan:
        """Return the plan; change nothing.

        Raises:
            PlanError: the encoder has no such stage, none above it, or one above that is not narrower.
        """
        stages = tuple(stage.name for stage in net.shape.stages())
        if self.until not in stages:
            msg = f'start "slim": the encoder has no stage "{self.until}". {did_you_mean(self.until, stages)}'
            raise PlanError(msg)
        copied = stages[: stages.index(self.until) + 1]
        above = stages[len(copied) :]
        if not above:
            msg = f'start "slim": no stage lies above "{self.until}". Choose a lower one, or the start "full".'
            raise PlanError(msg)
        if source is not None:  # without one, the plan below has every copied tensor as a problem
            for stage in above:
                _require_narrower(net, source, stage)
        why = f"full width up to {self.until}"
        where = Where(stages=copied)
        rules = (
            Rule(where=where, action=Action.COPY, why=why, **self.model_dump(include={*CONVERTED})),
            Rule(where=Where(stages=above), action=Action.FRESH, why="narrower than the source: from scratch"),
            Rule(action=Action.FRESH, why="new task"),
        )
        return build_plan(net, source, rules, start=self.name)


def _require_narrower(net: Network, source: SourceWeights, stage: str) -> None:
    """Refuse a stage that has as many output channels as the source's, summed over its layers."""
    stages = net.stages()
    own = known = 0
    for key, value in net.state_dict().items():
        name = key.removeprefix("encoder.")
        if value.ndim > 1 and name in source.shapes and stage_of(key, stages) == stage:
            own, known = own + value.shape[0], known + source.shapes[name][0]
    if own >= known:
        found = f"{own} channels, the source {known}" if known else "no layer that the source has too"
        msg = (
            f'start "slim": stage "{stage}" is not narrower than the source\'s: summed over its layers it has '
            f"{found}. Build the network with fewer channels above the copied stages, or use the "
            f'start "partial", which copies the same stages into a network of full width.'
        )
        raise PlanError(msg)
