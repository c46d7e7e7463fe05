"""Translation: what objectives share that learn to make target images of source images while the task is learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Loss, Player, Progress
from allograft.core.budget import PlayerOptim
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.image_level import ImageLevel, ImageLevelCriterion, images

__all__ = ["Translation", "TranslationCriterion", "told_apart"]


class Translation(ImageLevel):
    """Settings of an objective with generators and discriminators.

    Args:
        lr: learning rate of generators and discriminators, Adam's, > 0; the recipe's is the network's.
        width: channels of a generator's first layer.
        critic_width: channels of a discriminator's first layer.
        depth: halvings of a discriminator, which sees 16, 34, 70 elements along each axis for 1, 2, 3; images need
            at least 3 * 2**depth.
        plain: share of the steps in which the network still learns from source images as they are, while the
            generators learn, in [0, 1).
    """

    lr: float = Field(default=2e-4, gt=0)
    width: int = Field(default=64, ge=1)
    critic_width: int = Field(default=64, ge=1)
    depth: int = Field(default=3, ge=1, le=5)
    plain: float = Field(default=0.3, ge=0, lt=1)

    def adam(self) -> PlayerOptim:
        """Return the adversaries' optimiser: constant for half of the steps, then linearly to 0."""
        return PlayerOptim(name="adam", lr=self.lr, beta=0.5, weight_decay=0, schedule="half_linear", warmup=0)


class TranslationCriterion(ImageLevelCriterion):
    """Three players: the network, generators and discriminators, in this order, once each in a step."""

    def __init__(self, spec: Translation, task: Task, generators: nn.ModuleDict, discriminators: nn.ModuleDict) -> None:
        super().__init__(spec, task)
        self.share, self.optim = spec.plain, spec.adam()
        self.generators, self.discriminators = generators, discriminators

    def players(self, nets: Mapping[str, Network]) -> tuple[Player, ...]:
        """Return the network with the recipe's optimiser, and both adversaries with their own."""
        return (
            Player("net", tuple(nets["net"].parameters())),
            Player("generators", tuple(self.generators.parameters()), self.optim),
            Player("discriminators", tuple(self.discriminators.parameters()), self.optim),
        )

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the player's loss."""
        if player == "net":
            return super().forward(nets, batch, at, player)
        both = images(batch["source"]), images(batch["target"])
        return self.generate(*both) if player == "generators" else self.discriminate(*both)

    def changed(self, source: Tensor, target: Tensor, at: Progress) -> Tensor:
        """Return source images as they are for the first share of the steps, then as the generator makes them."""
        return source if at.fraction < self.share else self.translated(source)

    def translated(self, source: Tensor) -> Tensor:
        """Return (B, C, *S) target images made of source images."""
        raise NotImplementedError

    def generate(self, source: Tensor, target: Tensor) -> Loss:
        """Return the generators' loss."""
        raise NotImplementedError

    def discriminate(self, source: Tensor, target: Tensor) -> Loss:
        """Return the discriminators' loss."""
        raise NotImplementedError


def told_apart(on_real: Sequence[Tensor], on_made: Sequence[Tensor], middle: float) -> Tensor:
    """Return the share of judgements on the right side of `middle`, the mean of real and made images."""
    real, made = (torch.cat([x.flatten() for x in given]) for given in (on_real, on_made))
    return ((real > middle).float().mean() + (made < middle).float().mean()).detach() / 2
