"""Discriminative learning rates: each stage learns more slowly than the one above it.

Idea      Low stages hold general features and should change little, high stages more. Instead of
          freezing, the learning rate falls from stage to stage towards the input.
Paper     Howard, Ruder. Universal language model fine-tuning for text classification. ACL 2018.
          arXiv:1801.06146
Formula   scale(stage i) = decay^(top - i)   with top the heads; scale(heads) = scale(decoder) = 1
Streams   none (acts on the plan).
Defaults  decay = 0.385 (paper: each layer's rate is that of the layer above divided by 2.6).
Differs   1. Per named stage, not per layer. 2. A decoder learns with scale 1 like the heads. 3. Running
          statistics have no rate: they follow the data in every stage.
Checked   tests/reference/test_discriminative.py: scales against the closed form; decay 1 is the
          tuning "full"; one SGD step moves a weight by its scale times the plain step.
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
from allograft.weights.schedule import by_stage, encoder_stages, scaled

__all__ = ["Discriminative"]


class Discriminative(Method):
    """Slow the learning down from stage to stage towards the input.

    Args:
        decay: rate of a stage over that of the stage above, in (0, 1]; usual 0.3 to 0.5.

    >>> Discriminative(decay=0.5).decay
    0.5
    """

    name: ClassVar[str] = "discriminative"
    paper: ClassVar[Reference] = Reference(
        title="Universal language model fine-tuning for text classification",
        authors=("Howard", "Ruder"),
        year=2018,
        venue="ACL",
        arxiv="1801.06146",
    )

    decay: float = Field(default=0.385, gt=0, le=1)

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with the learning rate falling from the heads to the input.

        Raises:
            PlanError: the encoder has no stage with weights.
        """
        stages = encoder_stages(plan)
        if not stages:
            msg = 'tuning "discriminative": the encoder has no stage with weights. Use the tuning "full".'
            raise PlanError(msg)
        rates = {stage: scaled(self.decay**below) for below, stage in enumerate(reversed(stages), start=1)}
        tuned = plan.with_learns(by_stage(plan, rates), tuning=self.name)
        if self.decay < 1:
            return tuned
        note = 'discriminative with decay = 1 slows nothing down: it is the tuning "full".'
        return tuned.with_notes(note)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return None: nothing is added to the loss."""
        return None
