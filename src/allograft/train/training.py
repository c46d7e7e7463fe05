"""Training: everything that decides the numbers of a run, except the data and the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from allograft.contracts import Budget, Optim
from allograft.train.device import Device
from allograft.weights.plan import TransferPlan

__all__ = ["Training"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a run trains.

    Args:
        plans: by network; a row for every tensor, whose `learns` is obeyed.
        optim: the recipe's optimiser, for players that bring none.
        budget: steps, validations and patience; `batch` is the streams' affair.
        seed: of the noise inside networks and criteria (dropout); not of the batches.
        device: resolved: where, in which precision and with how many threads.
        penalties: by network: a module whose forward(net) gives a scalar added to the loss.
        save_every: steps between checkpoints, besides those at validations, >= 1.
        save_seconds: checkpoints closer than this to the one before are left out, >= 0: a short run is
            sooner repeated than written. What a run gives does not depend on it.
    """

    plans: Mapping[str, TransferPlan]
    optim: Optim
    budget: Budget
    seed: int
    device: Device = field(default_factory=Device)
    penalties: Mapping[str, nn.Module] = field(default_factory=dict)
    save_every: int = 100
    save_seconds: float = 0.0

    def eval_steps(self) -> frozenset[int]:
        """Return after how many steps the run is validated: evenly spread, the last included."""
        total, evals = self.budget.steps, min(self.budget.evals, self.budget.steps)
        return frozenset((total * k + evals - 1) // evals for k in range(1, evals + 1))

    def identity(self) -> dict[str, str]:
        """Return what a checkpoint must agree on before it is continued."""
        named = {f"plan {name}": plan.content_id() for name, plan in sorted(self.plans.items())}
        settings = {
            f"{what}.{key}": str(value)
            for what, config in (("optim", self.optim), ("budget", self.budget), ("device", self.device))
            for key, value in config.model_dump(mode="json").items()
        }
        penalties = {f"penalty {name}": type(module).__name__ for name, module in sorted(self.penalties.items())}
        return {**named, **settings, **penalties, "seed": str(self.seed)}
