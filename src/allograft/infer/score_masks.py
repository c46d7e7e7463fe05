"""Score a segmentation: predict every case by windows, bring it to a grid, compare it with the truth there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.mask import read_mask
from allograft.data.mask_scores import MaskScores
from allograft.data.normalise import Normaliser
from allograft.data.patches import Patches
from allograft.data.predictions import Predictions
from allograft.data.store import Store
from allograft.infer.segment import segment, segment_surely
from allograft.metrics.segmentation.metric import MaskMetric
from allograft.metrics.segmentation.score import ClassScore, score_case
from allograft.nets.network import Network

__all__ = ["Keep", "Labels", "Scoring", "own_truth", "score_masks", "scored", "table_of"]

Labels = npt.NDArray[Any]
Keep = Callable[[Case, Labels, Labels | None], None]
"""Given each case, its predicted and its true classes on the chosen grid; None where it has no mask."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How cases are segmented and scored.

    Args:
        store: prepared images of (at least) the cases.
        normalise: from stored values to the network's input.
        task: the segmentation.
        patches: the windows.
        metrics: of each class and case.
        grid: "own" compares on the grid of the case's own mask, as a user gets the result; "stored" on
            the prepared grid, which is what training sees and costs less.
        precision: of the arithmetic.
    """

    store: Store
    normalise: Normaliser
    task: Task
    patches: Patches
    metrics: Sequence[MaskMetric]
    grid: Literal["own", "stored"] = "stored"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    def labels(self, nets: Sequence[Network], case: Case) -> Labels:
        """Return the predicted classes of a case on the chosen grid, (*S)."""
        found = segment(
            nets, self._image(nets, case), head=self.task.head, patches=self.patches, precision=self.precision
        )
        return found if self.grid == "stored" else self.store.placement(case.id).restore(found)

    def with_confidence(self, nets: Sequence[Network], case: Case) -> tuple[Labels, npt.NDArray[np.float16]]:
        """Return the predicted classes of a case on the stored grid and the probability of each, both (*S)."""
        return segment_surely(
            nets, self._image(nets, case), head=self.task.head, patches=self.patches, precision=self.precision
        )

    def _image(self, nets: Sequence[Network], case: Case) -> Tensor:
        image = torch.from_numpy(np.ascontiguousarray(self.store.image(case.id)))
        return self.normalise(image[None])[0].to(next(nets[0].parameters()).device)

    def truth(self, case: Case) -> tuple[Labels, tuple[float, ...]] | None:
        """Return the true classes of a case on the chosen grid and its spacing; None where it has no mask."""
        if self.grid == "own":
            return own_truth(case, self.task.head, self.store)
        if not isinstance(case.targets.get(self.task.head), ImageRef):
            return None
        return self.store.mask(case.id, self.task.head), self.store.placement(case.id).spacing


def own_truth(case: Case, head: str, store: Store) -> tuple[Labels, tuple[float, ...]] | None:
    """Return the true classes of a case on its mask's own grid, (*S), and their spacing; None where it has no mask."""
    target = case.targets.get(head)
    if not isinstance(target, ImageRef):
        return None
    return read_mask(target, onto=case.image[0], dims=store.dims).array[0], store.placement(case.id).geometry.spacing


def score_masks(
    nets: Sequence[Network],
    cohort: Cohort,
    how: Scoring,
    *,
    keep: Keep = lambda case, labels, truth: None,
) -> Predictions:
    """Segment every case once and score it; elements whose truth is below 0 take no part.

    Args:
        nets: one network, or several whose probabilities are averaged.
        cohort: the cases.
        how: grid, windows and metrics.
        keep: given each case with its predicted and true classes on the chosen grid.

    Raises:
        DataError: there is no case.
    """
    if not len(cohort):
        msg = f"cohort {cohort.name}: no cases to segment."
        raise DataError(msg)
    rows = []
    for case in cohort:
        labels, truth = how.labels(nets, case), how.truth(case)
        keep(case, labels, None if truth is None else truth[0])
        rows.append(None if truth is None else scored(labels, *truth, how.task, how.metrics))
    groups = tuple(case.group for case in cohort)
    return Predictions.of_masks(how.task, cohort.ids, groups, table_of(rows, how.task, how.metrics))


def scored(
    labels: Labels, mask: Labels, spacing: tuple[float, ...], task: Task, metrics: Sequence[MaskMetric]
) -> tuple[ClassScore, ...]:
    """Return the scores of each class or region of one case; elements whose truth is below 0 take no part.

    Args:
        labels: (*S) predicted classes.
        mask: (*S) true classes on the same grid.
        spacing: distance between neighbours along each axis.
        task: the segmentation.
        metrics: of each class.
    """
    ignored = mask < 0
    if ignored.any():
        labels, mask = (np.where(ignored, 0, each) for each in (labels, mask))
    return score_case(labels, mask, task.scored, spacing, metrics)


def table_of(rows: Sequence[tuple[ClassScore, ...] | None], task: Task, metrics: Sequence[MaskMetric]) -> MaskScores:
    """Return the rows of all cases as arrays; None stands for a case without a mask."""
    classes = tuple(task.scored)
    values = {m.name: np.full((len(rows), len(classes)), np.nan) for m in metrics}
    truth = np.full((len(rows), len(classes)), -1, dtype=np.int64)
    predicted = np.zeros_like(truth)
    for i, row in enumerate(rows):
        for k, score in enumerate(row or ()):
            truth[i, k], predicted[i, k] = score.truth_voxels, score.predicted_voxels
            for name, value in score.values.items():
                values[name][i, k] = value
    return MaskScores(classes=classes, values=values, predicted=predicted, truth=truth)
