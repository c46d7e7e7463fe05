"""Last k: the encoder's last k stages learn with decoder and heads, the rest is frozen.

Idea      Low stages hold general features and are kept; high stages are specific to the source task
          and are adapted. Frozen stages keep their running statistics.
Paper     Yosinski, Clune, Bengio, Lipson. How transferable are features in deep neural networks?
          NeurIPS 2014.  arXiv:1411.1792
Formula   scale(stage i) = 1 if i > n - k else 0   for stages i = 1 .. n from input to output
Streams   none (acts on the plan).
Defaults  k = 1 (ours).
Differs   1. Counts the encoder's named stages, not single layers. 2. Decoder and heads always learn.
Checked   tests/reference/test_last_k.py: learning stages counted for each k; frozen stages bit-equal
          after training, the last k move; k of all stages is refused.
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
from allograft.weights.schedule import FREE, FROZEN, by_stage, encoder_stages, require_heads

__all__ = ["LastK"]


class LastK(Method):
    """Freeze all but the last stages.

    Args:
        k: how many of the encoder's last stages learn, >= 1 (0 is the tuning "frozen").

    >>> LastK(k=2).k
    2
    """

    name: ClassVar[str] = "last_k"
    paper: ClassVar[Reference] = Reference(
        title="How transferable are features in deep neural networks?",
        authors=("Yosinski", "Clune", "Bengio", "Lipson"),
        year=2014,
        venue="NeurIPS",
        arxiv="1411.1792",
    )

    k: int = Field(default=1, ge=1)

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with all but the last k stages of the encoder frozen for all `steps`.

        Raises:
            PlanError: k covers all stages (nothing would be frozen), or there is no head.
        """
        require_heads(plan, self.name)
        stages = encoder_stages(plan)
        if self.k >= len(stages):
            msg = (
                f'tuning "last_k": k = {self.k} freezes nothing, the encoder has {len(stages)} stages '
                f'({", ".join(stages)}). Expected k < {len(stages)}; to let everything learn use "full".'
            )
            raise PlanError(msg)
        frozen = stages[: -self.k]
        free = {entry.stage: FROZEN if entry.stage in frozen else FREE for entry in plan.entries}
        return plan.with_learns(by_stage(plan, free), tuning=self.name)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return None: nothing is added to the loss."""
        return None
