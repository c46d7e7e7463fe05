"""Step: networks, criterion and penalties as one module, so that several processes share all gradients."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from allograft.contracts import Criterion, Loss, Progress
from allograft.data.case import Batch
from allograft.nets.network import Network

__all__ = ["Step", "Turn"]


class Turn:
    """What one update is about; opaque on purpose, since wrappers copy and cast what they can look into.

    Args:
        batch: by stream.
        at: where training is.
        player: who moves.
    """

    __slots__ = ("at", "batch", "player")

    def __init__(self, batch: Mapping[str, Batch], at: Progress, player: str) -> None:
        self.batch, self.at, self.player = batch, at, player


class Step(nn.Module):
    """The loss of one update.

    Wrapping a network alone for several processes would leave a criterion's own modules (a
    discriminator, a projector) with gradients of one process only.

    Args:
        nets: by name.
        criterion: the live objective.
        penalties: by network.
    """

    def __init__(self, nets: Mapping[str, Network], criterion: Criterion, penalties: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleDict(dict(nets))
        self.criterion = criterion
        self.penalties = nn.ModuleDict(dict(penalties))
        self._by_name = dict(nets)

    def forward(self, turn: Turn) -> Loss:
        """Return the loss that the turn's player minimises, penalties included."""
        loss: Loss = self.criterion(self._by_name, turn.batch, turn.at, turn.player)
        for name, module in self.penalties.items():
            value = module(self._by_name[name])
            key = "penalty" if len(self.penalties) == 1 else f"penalty.{name}"
            loss = Loss(loss.total + value, {**loss.parts, key: value.detach()})
        return loss
