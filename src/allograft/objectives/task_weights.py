"""Task weights: how the losses of several tasks become one: given weights, learned ones, or one task at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from allograft.core.seeds import seed_for

__all__ = ["TaskWeights", "Weighting"]

Weighting = Literal["fixed", "uncertainty", "alternating"]


class TaskWeights(nn.Module):
    """Weights of tasks.

    Args:
        names: of the tasks.
        how: "fixed": sum_t w_t L_t; "uncertainty": sum_t exp(-s_t) L_t + s_t with learned s_t; "alternating": each
            step one task, every task once in a round, in an order drawn anew for each round.
        fixed: w_t by name, 1 where missing.

    Attributes:
        s: (T,) the learned logarithms.
        order: () names the order of alternating tasks; drawn from torch's random state.
    """

    order: Tensor

    def __init__(self, names: tuple[str, ...], how: Weighting, fixed: Mapping[str, float]) -> None:
        super().__init__()
        self.names, self.how, self.fixed = names, how, dict(fixed)
        if how == "uncertainty":
            self.s = nn.Parameter(torch.zeros(len(names)))
        if how == "alternating":
            self.register_buffer("order", torch.randint(2**31, ()))

    def active(self, step: int) -> tuple[str, ...]:
        """Return the tasks of a step, a function of the order and the step alone."""
        if self.how != "alternating":
            return self.names
        turn, place = divmod(step, len(self.names))
        drawn = np.random.default_rng(seed_for("multi_task", int(self.order), turn)).permutation(len(self.names))
        return (self.names[drawn[place]],)

    def forward(self, losses: Mapping[str, Tensor], absent: frozenset[str]) -> Tensor:
        """Return the losses in one number; those of absent tasks are 0 and leave their weights alone."""
        parts = []
        for name in self.names:
            if name in losses:
                if self.how == "uncertainty" and name not in absent:
                    s = self.s[self.names.index(name)]
                    parts.append(torch.exp(-s) * losses[name] + s)
                else:
                    parts.append(self.fixed.get(name, 1.0) * losses[name])
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
