"""Budget and optimiser: how much training a run may use, and how it steps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from allograft.core.config import Config

__all__ = ["Budget", "Optim"]


class Optim(Config):
    """An optimiser and its schedule.

    Args:
        name: "adamw", "adam" or "sgd" (momentum 0.9, Nesterov off).
        lr: peak learning rate, > 0; the search on validation may replace it.
        weight_decay: decoupled for adamw, >= 0; never applied to norm layers and biases.
        schedule: "cosine" to 0, "constant", or "poly" with power 0.9.
        warmup: share of the steps with a linear rise from 0, in [0, 1).
        clip: largest gradient norm, None for none.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["cosine", "constant", "poly"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)


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
