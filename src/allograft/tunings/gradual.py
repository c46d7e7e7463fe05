"""Gradual unfreezing: from the heads down, one more stage learns after every share of the steps.

Idea      Letting all stages learn at once lets the noise of a fresh head wash out what was
          transferred. The last stage holds the least general features and is thawed first.
Paper     Howard, Ruder. Universal language model fine-tuning for text classification. ACL 2018.
          arXiv:1801.06146
Formula   stage i of n (from input to output) is frozen before step (n - i + 1) * every * steps
Streams   none (acts on the plan).
Defaults  every = half of the run over the number of stages (ours; the paper thaws a layer after each
          epoch), so that everything learns in the second half whatever the network.
Differs   1. Counts shares of the steps, not epochs, so that the schedule does not depend on the size
          of the cohort. 2. Thaws stages, not layers. 3. Discriminative rates and slanted triangular
          schedule are not part of it.
Checked   tests/reference/test_gradual.py: thaw steps against the closed form; a frozen stage is
          bit-equal until its step and moves after it; one stage or too few steps are refused.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from allograft.contracts import Method
from allograft.core.errors import PlanError
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.plan import TransferPlan
from allograft.weights.schedule import by_stage, encoder_stages, from_step, require_heads

__all__ = ["Gradual"]


class Gradual(Method):
    """Thaw the encoder stage by stage from the top.

    Args:
        every: share of the steps between two thaws, in (0, 1), times the number of stages < 1; None
            spreads the thaws over the first half of the run.

    >>> Gradual(every=0.2).every
    0.2
    """

    name: ClassVar[str] = "gradual"
    paper: ClassVar[Reference] = Reference(
        title="Universal language model fine-tuning for text classification",
        authors=("Howard", "Ruder"),
        year=2018,
        venue="ACL",
        arxiv="1801.06146",
    )

    every: float | None = Field(default=None, gt=0, lt=1)

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with one more stage thawed after every share of the steps.

        Raises:
            PlanError: one stage only, a stage that would never learn, or two thaws at one step.
        """
        require_heads(plan, self.name)
        stages = encoder_stages(plan)
        every = 0.5 / max(1, len(stages)) if self.every is None else self.every
        thaws = [round((len(stages) - i) * every * steps) for i in range(len(stages))]
        _require_gradual(stages, thaws, steps)
        schedule = {stage: from_step(step) for stage, step in zip(stages, thaws, strict=True)}
        return plan.with_learns(by_stage(plan, schedule), tuning=self.name)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return None: nothing is added to the loss."""
        return None


def _require_gradual(stages: tuple[str, ...], thaws: list[int], steps: int) -> None:
    """Refuse a schedule that is not gradual or does not end."""
    n = len(stages)
    if n < 2:
        msg = f'tuning "gradual": the encoder has {n} stage, nothing is gradual about that. Use "lp_ft".'
        raise PlanError(msg)
    if thaws[0] >= steps:
        msg = (
            f'tuning "gradual": stage "{stages[0]}" would first learn at step {thaws[0]} of {steps}, that is '
            f"never. Expected every < 1/{n} = {1 / n:.3g} for {n} stages."
        )
        raise PlanError(msg)
    if len({0, *thaws}) != n + 1:
        msg = (
            f'tuning "gradual": {steps} steps are too few to thaw {n} stages one by one (they would thaw at '
            f"{thaws[::-1]}). Train longer or raise every."
        )
        raise PlanError(msg)
