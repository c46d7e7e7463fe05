"""Predictions: what a network said of each case, kept raw so that every number can be made again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allograft.core.task import Task

__all__ = ["Predictions"]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Logits, probabilities and truth for N cases.

    Args:
        task: what was predicted.
        ids: N case ids.
        groups: N independent units.
        logits: (N, O) float32, O = task.outputs.
        probabilities: (N, L) in [0, 1]; rows sum to 1 unless the task is multi-label.
        targets: (N,) class indices or (N, L) multi-label 0/1; -1 where absent.
    """

    task: Task
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float64]
    targets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)
