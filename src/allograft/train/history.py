"""History: what a training run did, one row per validation."""

from __future__ import annotations

from allograft.core.config import Config

__all__ = ["History", "Row"]


class Row(Config):
    """One validation.

    Args:
        step: steps done by then, 1 to the budget's.
        lr: learning rate of the last of them (scale 1).
        train: mean of the loss and of its parts since the row before.
        validation: what `Validate` returned, empty without validation.
    """

    step: int
    lr: float
    train: dict[str, float]
    validation: dict[str, float]


class History(Config):
    """A training run in numbers.

    Args:
        rows: in the order of steps.
        best_step: steps done when the weights handed on were taken.
        stopped_early: whether patience ran out before the budget.
        steps_done: steps done in all.
    """

    rows: tuple[Row, ...] = ()
    best_step: int = 0
    stopped_early: bool = False
    steps_done: int = 0
