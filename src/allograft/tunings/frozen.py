"""Frozen encoder (linear probe): only decoder and heads learn.

Idea      The encoder keeps its values, running statistics of normalisation layers included; what is
          learned on top says how useful the transferred features are. On a start from scratch it is
          the frozen-random baseline, without which no "transfer helps" can be claimed.
Paper     Karimi, Warfield, Gholipour. Critical assessment of transfer learning for medical image
          segmentation with fully convolutional neural networks. 2020.  arXiv:2006.00356
Formula   scale(w) = 0 for w in the encoder, 1 for w in decoder and heads
Streams   none (acts on the plan).
Defaults  none.
Differs   none.
Checked   tests/reference/test_frozen.py: encoder bit-equal after training, BN statistics included; the
          head equals one trained by hand on the fixed features; heads move.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.plan import TransferPlan
from allograft.weights.schedule import FROZEN, by_stage, require_heads

__all__ = ["Frozen"]


class Frozen(Method):
    """Freeze the encoder; decoder and heads learn.

    >>> Frozen().name
    'frozen'
    """

    name: ClassVar[str] = "frozen"
    paper: ClassVar[Reference] = Reference(
        title=(
            "Critical assessment of transfer learning for medical image segmentation "
            "with fully convolutional neural networks"
        ),
        authors=("Karimi", "Warfield", "Gholipour"),
        year=2020,
        venue="arXiv",
        arxiv="2006.00356",
    )

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with the encoder frozen for all `steps`.

        Raises:
            PlanError: the network has no decoder or head, so nothing would learn.
        """
        require_heads(plan, self.name)
        stages = {entry.stage: FROZEN for entry in plan.entries}
        return plan.with_learns(by_stage(plan, stages), tuning=self.name)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return None: nothing is added to the loss."""
        return None
