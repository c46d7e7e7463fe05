"""Only: named parts of a finished network learn, everything else, heads included, stays bit for bit.

Not a recipe's choice, whose heads are new and must learn: procedures adapt a trained network with it.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from allograft.contracts import HOUSE
from allograft.core.config import Config
from allograft.core.errors import PlanError
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.weights.plan import TransferPlan
from allograft.weights.rules import Kind, Where
from allograft.weights.schedule import FREE, FROZEN

__all__ = ["Only"]


class Only(Config):
    """Let some tensors learn and no other.

    Args:
        stages: their stages; empty for all.
        kinds: their kinds; empty for all.
        lacking: what to say where no weight or bias of the network is among them.
    """

    name: ClassVar[str] = "only"
    paper: ClassVar[Reference] = HOUSE

    stages: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    lacking: str = "nothing would learn."

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with all but these frozen for all `steps`.

        Raises:
            PlanError: the network has none of them.
        """
        where = Where(stages=self.stages, kinds=self.kinds)
        chosen = [e for e in plan.entries if where.matches(key=e.target, stage=e.stage, kind=e.kind)]
        if all(entry.kind in {"norm_stat", "buffer"} for entry in chosen):
            raise PlanError(self.lacking)
        free = {entry.target for entry in chosen}
        learns = {e.target: FREE if e.target in free else FROZEN for e in plan.entries}
        return plan.with_learns(learns, tuning=self.name)

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return None: nothing is added to the loss."""
        return None
