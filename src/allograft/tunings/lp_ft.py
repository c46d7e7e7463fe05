"""LP-FT: linear probe first, then full fine-tuning.

Idea      While the head is still random, its gradient distorts good features. Training the head alone
          first makes that gradient small before the encoder may move.
Paper     Kumar, Raghunathan, Jones, Ma, Liang. Fine-tuning can distort pretrained features and
          underperform out-of-distribution. ICLR 2022.  arXiv:2202.10054
Formula   scale(encoder) = 0 before step round(share * steps), 1 from then on; scale(heads) = 1
Streams   none (acts on the plan).
Defaults  share = 0.3 (ours; the paper trains each phase to its end).
Differs   1. One run with one optimiser and one learning-rate schedule; the paper restarts both for the
          second phase. 2. With a decoder, the probe trains decoder and heads.
Checked   tests/reference/test_lp_ft.py: the switch against the closed form; before it the encoder
          equals that of "frozen" bit by bit, after it the encoder moves; extreme shares are refused.
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
from allograft.weights.schedule import by_stage, from_step, require_heads

__all__ = ["LPFT"]


class LPFT(Method):
    """Freeze the encoder for a share of the steps, then let everything learn.

    Args:
        share: share of the steps for the linear probe, in (0, 1).

    >>> LPFT(share=0.5).share
    0.5
    """

    name: ClassVar[str] = "lp_ft"
    paper: ClassVar[Reference] = Reference(
        title="Fine-tuning can distort pretrained features and underperform out-of-distribution",
        authors=("Kumar", "Raghunathan", "Jones", "Ma", "Liang"),
        year=2022,
        venue="ICLR",
        arxiv="2202.10054",
    )

    share: float = Field(default=0.3, gt=0, lt=1)

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with the encoder frozen before round(share x steps).

        Raises:
            PlanError: one of the two phases would have no step, or there is no head.
        """
        require_heads(plan, self.name)
        switch = round(self.share * steps)
        if not 1 <= switch < steps:
            msg = (
                f'tuning "lp_ft": share = {self.share:g} of {steps} steps gives {switch} steps of probing, so one '
                f"phase is empty. Expected 1 to {steps - 1}; train longer or change share."
            )
            raise PlanError(msg)
        schedule = {entry.stage: from_step(switch) for entry in plan.entries}
        return plan.with_learns(by_stage(plan, schedule), tuning=self.name)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return None: nothing is added to the loss."""
        return None
