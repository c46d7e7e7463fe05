"""Budget and optimiser: how much training a run may use, and how it steps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from allograft.core.config import Config

__all__ = ["Budget", "Optim", "PlayerOptim"]


class Optim(Config):
    """An optimiser and its schedule.

    Args:
        name: "adamw", "adam", "sgd" (momentum 0.9, Nesterov off) or "rmsprop" (squares decay by 0.9).
        lr: peak learning rate, > 0; the search on validation may replace it.
        weight_decay: decoupled for adamw, >= 0; never applied to norm layers and biases.
        schedule: "cosine" to 0, "constant", "poly" with power 0.9, "inverse": lr / (1 + 10 p)^0.75 for progress p
            in [0, 1] (Ganin et al. 2016); or "half_linear": constant for half of the steps, then linearly to 0.
        warmup: share of the steps with a linear rise from 0, in [0, 1).
        clip: largest gradient norm, None for none.
    """

    name: Literal["adamw", "adam", "sgd", "rmsprop"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["cosine", "constant", "poly", "inverse", "half_linear"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)

    def betas(self) -> tuple[float, float]:
        """Return how Adam's two moments decay."""
        return 0.9, 0.999


class PlayerOptim(Optim):
    """The optimiser that a criterion brings for a player of its own; recipes do not have it.

    Args:
        beta: how Adam's first moment decays, in [0, 1); adversaries are commonly given 0.5.
    """

    beta: float = Field(default=0.9, ge=0, lt=1)

    def betas(self) -> tuple[float, float]:
        """Return how Adam's two moments decay."""
        return self.beta, 0.999


class Budget(Config):
    """How much training a run may use; every arm of a study has the same.

    Args:
        steps: optimiser steps in all, the learning-rate search included.
        batch: cases in a step.
        evals: validations over the run, spread evenly.
        patience: validations without improvement before stopping, None never.
    """

    steps: int = Field(default=400, ge=1)
    batch: int = Field(default=32, ge=1)
    evals: int = Field(default=10, ge=1)
    patience: int | None = Field(default=None, ge=1)
