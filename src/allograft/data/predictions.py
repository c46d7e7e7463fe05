"""Predictions: what a network said of each case, kept raw so that every number can be made again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.mask_scores import MaskScores

__all__ = ["Predictions", "logits_of"]

SAFE = 1e-7
"""Least probability that is turned back into a logit."""


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

    def of_groups(self) -> Predictions:
        """Return one prediction for each group: the mean of its cases' probabilities, and their common target.

        Logits are those of the mean probabilities; the groups stand in the order of their first case.

        Raises:
            DataError: cases of one group have different targets.
        """
        names = tuple(dict.fromkeys(self.groups))
        rows = [np.flatnonzero(np.array(self.groups) == name) for name in names]
        mean = np.stack([self.probabilities[each].mean(0) for each in rows])
        targets = [_common(name, self.targets[each]) for name, each in zip(names, rows, strict=True)]
        return replace(
            self,
            ids=names,
            groups=names,
            logits=logits_of(mean, self.task),
            probabilities=mean,
            targets=np.stack(targets),
        )

    def __len__(self) -> int:
        return len(self.ids)


def _common(group: str, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the one target of a group's cases, -1 where none has one."""
    rows = targets.reshape(len(targets), -1)
    highest = rows.max(0)
    if bool(((rows >= 0) & (rows != highest)).any()):
        msg = (
            f"group {group}: its {len(targets)} cases have different labels, so that the group has none of its own. "
            "Use score_by: case, or groups of one label (videos)."
        )
        raise DataError(msg)
    found: npt.NDArray[np.int64] = highest.reshape(targets.shape[1:])
    return found


def logits_of(probabilities: npt.NDArray[np.float64], task: Task) -> npt.NDArray[np.float32]:
    """Return the logits (N, O) of probabilities (N, L)."""
    safe = np.clip(probabilities, SAFE, 1 - SAFE)
    odds = np.log(safe) - np.log1p(-safe)
    found = {"binary": odds[:, 1:], "multilabel": odds}.get(task.kind, np.log(safe))
    return found.astype(np.float32)
