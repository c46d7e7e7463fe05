"""Collapse: a network that predicts next to nothing, or everything, in every case.

A segmentation of small structures can reach a low loss by calling every voxel background. Its mean
Dice then says 0, its accuracy 0.99; this says what happened, in words, while there is time to stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from allograft.core.errors import ConfigError
from allograft.data.mask_scores import MaskScores

__all__ = ["Counted", "collapse_of_scores", "collapse_warning"]


class Counted(Protocol):
    """What the detector reads of a class of a case; a `ClassScore` is one."""

    @property
    def name(self) -> str:
        """Of the class or region."""

    @property
    def predicted_voxels(self) -> int:
        """Elements that are predicted."""

    @property
    def truth_voxels(self) -> int:
        """Elements that are true."""

    @property
    def image_voxels(self) -> int:
        """Elements of the image."""


class _Row(NamedTuple):
    """One class of one case."""

    name: str
    predicted_voxels: int
    truth_voxels: int
    image_voxels: int


def collapse_of_scores(scores: MaskScores, elements: Sequence[int], *, share: float = 0.01) -> str:
    """Return the warning for the scores of a study's run; cases without a mask take no part.

    Args:
        scores: of N cases.
        elements: size of each case's image on the grid that the scores were counted on, N of them.
        share: as in `collapse_warning`.

    Raises:
        ConfigError: the share is not in (0, 1).
    """
    rows = [
        [_Row(*row, size) for row in zip(scores.classes, predicted.tolist(), truth.tolist(), strict=True)]
        for predicted, truth, size in zip(scores.predicted, scores.truth, elements, strict=True)
        if (truth >= 0).all()
    ]
    return collapse_warning(rows, share=share)


def collapse_warning(cases: Sequence[Sequence[Counted]], *, share: float = 0.01) -> str:
    """Return a warning where a class is predicted nowhere, or nearly everywhere, in all cases; "" for none.

    Args:
        cases: the rows of `score_case`, one sequence per case; `metrics=()` is enough.
        share: a class has vanished if every case that has it shows less than this share of its true
            voxels, and has flooded if every case that is not all of the class leaves free less than
            this share of what should be free; in (0, 1) (0.01: ours).

    Raises:
        ConfigError: the share is not in (0, 1).
    """
    if not 0 < share < 1:
        msg = f"share: expected a number in (0, 1), got {share}."
        raise ConfigError(msg)
    columns = list(zip(*cases, strict=True))
    vanished = [rows[0].name for rows in columns if _vanished(rows, share)]
    flooded = [rows[0].name for rows in columns if _flooded(rows, share)]
    asked = sum(any(row.truth_voxels for row in rows) for rows in columns)
    said = []
    if vanished:
        whole = len(vanished) == asked
        what = "The network predicts background only" if whole else f"The network never predicts {_names(vanished)}"
        said.append(
            f"{what}: less than {share:.0%} of the true voxels in each of {len(cases)} cases. Look at the learning "
            "rate, at class weights, and at whether patches contain the structure."
        )
    if flooded:
        said.append(
            f"The network predicts {_names(flooded)} nearly everywhere in each of {len(cases)} cases. Look at the "
            "label values, at class weights, and at the learning rate."
        )
    return " ".join(said)


def _vanished(rows: Sequence[Counted], share: float) -> bool:
    true = [row for row in rows if row.truth_voxels]
    return bool(true) and all(row.predicted_voxels < share * row.truth_voxels for row in true)


def _flooded(rows: Sequence[Counted], share: float) -> bool:
    """Tell whether the class fills every image although it does not in truth."""
    other = [row for row in rows if row.truth_voxels < row.image_voxels]
    left = [(row.image_voxels - row.predicted_voxels) / (row.image_voxels - row.truth_voxels) for row in other]
    return bool(left) and max(left) < share


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
