"""Tracker: the few numbers that a run must remember between steps; plain data, saved with each checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from allograft.core.errors import ConfigError, NumericsError
from allograft.train.history import History, Row

__all__ = ["Tracker"]


@dataclass(kw_only=True)
class Tracker:
    """Where a run is.

    Args:
        step: steps done.
        sums: loss and parts, summed since the last row.
        count: how many terms each sum has.
        rows: rows so far.
        best_score: largest validation score so far, None before the first.
        best_step: steps done when it was reached.
        waited: validations since then.
        stopped: whether patience ran out.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    best_score: float | None = None
    best_step: int = 0
    waited: int = 0
    stopped: bool = False

    def add(self, name: str, value: float) -> None:
        """Take one number of this step into the running mean."""
        self.sums[name] = self.sums.get(name, 0.0) + value
        self.count[name] = self.count.get(name, 0) + 1

    def close_row(
        self, lr: float, values: Mapping[str, float], patience: int | None, seen: Mapping[str, float] | None = None
    ) -> bool:
        """Close the row at this step and tell whether its weights are the best so far.

        Args:
            lr: learning rate of the last step.
            values: the validation's, empty without validation.
            patience: rows without improvement before stopping, None never.
            seen: further numbers for the row, which decide nothing.

        Returns:
            Whether the score rose; a tie keeps the earlier weights.

        Raises:
            NumericsError: the score is not finite.
        """
        train = {name: total / self.count[name] for name, total in self.sums.items()}
        self.rows.append(Row(step=self.step, lr=lr, train=train, validation={**values, **(seen or {})}))
        self.sums, self.count = {}, {}
        if not values:
            return False
        score = _score(values, self.step)
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_step, self.waited = score, self.step, 0
            return True
        self.waited += 1
        self.stopped = patience is not None and self.waited >= patience
        return False

    def history(self) -> History:
        """Return the run so far; without validation the last weights are the best."""
        return History(
            rows=tuple(self.rows),
            best_step=self.best_step if self.best_score is not None else self.step,
            stopped_early=self.stopped,
            steps_done=self.step,
        )

    def dump(self) -> dict[str, Any]:
        """Return plain data from which `load` makes the same tracker."""
        return {**vars(self), "rows": [row.model_dump() for row in self.rows]}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Tracker:
        """Return the tracker that `dump` described."""
        return cls(**{**data, "rows": [Row(**row) for row in data["rows"]]})


def _score(values: Mapping[str, float], step: int) -> float:
    """Return the value that decides."""
    if "score" not in values:
        msg = (
            f'validation after step {step} returned {sorted(values)}: expected a value named "score", larger is better.'
        )
        raise ConfigError(msg)
    if not math.isfinite(values["score"]):
        msg = (
            f"validation after step {step}: the score is {values['score']}, expected a finite number. "
            "Check that the validation cases hold every class, or choose another metric."
        )
        raise NumericsError(msg)
    return values["score"]
