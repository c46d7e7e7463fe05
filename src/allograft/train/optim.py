"""Optimisers built from plans, and learning rates as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from allograft.contracts import Criterion, Optim, Player
from allograft.core.errors import ConfigError, PlanError
from allograft.nets.network import Network
from allograft.train.learning import Learning, ever_learns, scale_at
from allograft.weights.plan import Learns
from allograft.weights.schedule import FREE

__all__ = ["Mover", "build_movers", "lr_at"]

POLY_POWER = 0.9
INVERSE_GAMMA, INVERSE_POWER = 10.0, 0.75
SGD_MOMENTUM = 0.9
RMSPROP_DECAY = 0.9


def lr_at(optim: Optim, step: int, total: int) -> float:
    """Return the learning rate of scale 1 at `step` (0, ..., total - 1).

    The warm-up rises linearly from 0 (which no step uses) and reaches `optim.lr` at the first step
    after it; then the schedule falls from there.

    >>> [round(lr_at(Optim(lr=1.0, warmup=0.5), step, 8), 3) for step in range(8)]
    [0.2, 0.4, 0.6, 0.8, 1.0, 0.854, 0.5, 0.146]
    """
    warm = round(optim.warmup * total)
    if step < warm:
        return optim.lr * (step + 1) / (warm + 1)
    done = (step - warm) / max(1, total - warm)
    if optim.schedule == "half_linear":
        return optim.lr * min(1.0, 2 * (1 - done))
    if optim.schedule == "cosine":
        return optim.lr * 0.5 * (1 + math.cos(math.pi * done))
    if optim.schedule == "inverse":
        return optim.lr * math.pow(1 + INVERSE_GAMMA * done, -INVERSE_POWER)
    return optim.lr * (1 - done) ** POLY_POWER if optim.schedule == "poly" else optim.lr


@dataclass(frozen=True, kw_only=True)
class Mover:
    """A player with its optimiser.

    Args:
        player: its name.
        turns: updates in a step.
        optim: its settings.
        optimizer: groups carry `learns`, the schedule of their scale.
        names: a unique name for each parameter, the same in every process and after a restart.
    """

    player: str
    turns: int
    optim: Optim
    optimizer: torch.optim.Optimizer
    names: Mapping[nn.Parameter, str]

    def set_rates(self, step: int, total: int) -> float:
        """Give each group its rate at `step`; return the rate of scale 1."""
        rate = lr_at(self.optim, step, total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * scale_at(group["learns"], step)
        return rate


def build_movers(
    nets: Mapping[str, Network], criterion: Criterion, learning: Learning, optim: Optim, steps: int
) -> tuple[Mover, ...]:
    """Return one mover per player.

    A network's parameters learn as their plan says. A criterion's own parameters learn at scale 1
    unless the criterion has switched their gradient off (a teacher); of those, vectors and scalars
    (biases and norm layers) have no weight decay.

    Raises:
        PlanError: at some step a player has nothing that learns.
        ConfigError: two players share a name, or one moves a tensor that nobody owns.
    """
    players = criterion.players(nets)
    own = {parameter: f"criterion.{name}" for name, parameter in criterion.named_parameters()}
    names = {**own, **learning.names}
    if len({player.name for player in players}) != len(players):
        msg = f"players need different names, got {[player.name for player in players]}."
        raise ConfigError(msg)
    movers = []
    for player in players:
        groups = _groups(player.parameters, learning, player.optim or optim, steps)
        _always_moves(player, groups, learning, steps)
        movers.append(
            Mover(
                player=player.name,
                turns=player.turns,
                optim=player.optim or optim,
                optimizer=_optimizer(player.optim or optim, groups),
                names={p: _name_of(p, names, player) for group in groups for p in group["params"]},
            )
        )
    return tuple(movers)


def _groups(parameters: Sequence[nn.Parameter], learning: Learning, optim: Optim, steps: int) -> list[dict[str, Any]]:
    """Group the parameters that ever learn by (learns, decay), in order of first appearance."""
    found: dict[tuple[Learns, bool], list[nn.Parameter]] = {}
    for parameter in dict.fromkeys(parameters):
        planned = learning.learns.get(parameter)
        if planned is None and not parameter.requires_grad:
            continue
        learns = FREE if planned is None else planned
        if ever_learns(learns, steps):
            found.setdefault((learns, learning.decays.get(parameter, parameter.ndim > 1)), []).append(parameter)
    return [
        {"params": members, "learns": learns, "weight_decay": optim.weight_decay if decay else 0.0}
        for (learns, decay), members in found.items()
    ]


def _optimizer(optim: Optim, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the optimiser; fused kernels, where there are some, update all tensors in one call, on CPU and CUDA."""
    if optim.name == "sgd":
        sgd = torch.optim.SGD(groups, lr=optim.lr, momentum=SGD_MOMENTUM, fused=True)
        sgd.register_step_pre_hook(_with_momenta)
        return sgd
    if optim.name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=optim.lr, alpha=RMSPROP_DECAY)
    kind = torch.optim.AdamW if optim.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=optim.lr, betas=optim.betas(), fused=True)


def _with_momenta(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Let tensors whose first gradient comes late begin at rest: the fused kernel fails where some have no momentum."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and "momentum_buffer" not in optimizer.state[parameter]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _always_moves(player: Player, groups: list[dict[str, Any]], learning: Learning, steps: int) -> None:
    """Refuse a run in which, from some step on, a player moves nothing."""
    for start in sorted(s for s in learning.breakpoints() if s < steps):
        if not any(scale_at(group["learns"], start) for group in groups):
            msg = (
                f'player "{player.name}": no tensor learns at step {start} of {steps}; training would change nothing. '
                "Let at least the head learn (tuning), or take the steps away."
            )
            raise PlanError(msg)


def _name_of(parameter: nn.Parameter, names: Mapping[nn.Parameter, str], player: Player) -> str:
    """Return a parameter's name, needed to find it again after a restart."""
    if parameter not in names:
        msg = (
            f'player "{player.name}" moves a tensor of shape {tuple(parameter.shape)} that belongs neither to the '
            "networks nor to the criterion. Register its module in the criterion."
        )
        raise ConfigError(msg)
    return names[parameter]
