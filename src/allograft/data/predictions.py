"""Predictions: what a network said of each case, kept raw so that every number can be made again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allograft.core.task import Task
from allograft.data.mask_scores import MaskScores

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
        masks: of a segmentation, what each case scored; logits and probabilities are then (N, 0), and
            targets are 0 where the case has a mask.
    """

    task: Task
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float64]
    targets: npt.NDArray[np.int64]
    masks: MaskScores | None = None

    @classmethod
    def of_masks(cls, task: Task, ids: tuple[str, ...], groups: tuple[str, ...], masks: MaskScores) -> Predictions:
        """Return the predictions of a segmentation, of which only scores are kept."""
        empty = np.zeros((len(ids), 0))
        targets = np.where(masks.truth[:, 0] >= 0, 0, -1).astype(np.int64)
        return cls(
            task=task,
            ids=ids,
            groups=groups,
            logits=empty.astype(np.float32),
            probabilities=empty,
            targets=targets,
            masks=masks,
        )

    def __len__(self) -> int:
        return len(self.ids)
