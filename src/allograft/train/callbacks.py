"""Callbacks: what may watch a run. They read; nothing that they do reaches a tensor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from allograft.contracts import Progress
from allograft.core.atomic import write_text
from allograft.train.history import History

__all__ = ["Callback", "ProgressCallback", "RowLog"]


class Callback(Protocol):
    """Watches a run."""

    def after_step(self, at: Progress, loss: float) -> None:
        """Look at a finished step: `at.step` steps are done."""

    def after_row(self, history: History) -> None:
        """Look at the run so far; its last row is new."""


class RowLog:
    """Writes the rows as JSON lines; a resumed run rewrites the file, so no row comes twice.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def after_step(self, at: Progress, loss: float) -> None:
        """Do nothing."""

    def after_row(self, history: History) -> None:
        """Write all rows so far."""
        write_text(self.path, "".join(json.dumps(row.model_dump()) + "\n" for row in history.rows))


class ProgressCallback:
    """Tells a function how far the run is, every so many steps and at the end.

    Args:
        tell: called with the progress and the step's loss.
        every: steps between calls, >= 1.
    """

    def __init__(self, tell: Callable[[Progress, float], None], *, every: int = 10) -> None:
        self.tell, self.every = tell, every

    def after_step(self, at: Progress, loss: float) -> None:
        """Tell at every `every`-th step and at the last."""
        if at.step % self.every == 0 or at.step == at.total:
            self.tell(at, loss)

    def after_row(self, history: History) -> None:
        """Do nothing."""
