"""MaskScores: how well each class of each case was segmented; label maps themselves are too large to keep beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["MaskScores"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MaskScores:
    """Scores of N cases and C classes or regions.

    Args:
        classes: C names, without background.
        values: by metric (N, C); NaN where the class is neither true nor predicted, or the case has no mask.
        predicted: (N, C) elements that were predicted.
        truth: (N, C) elements that are true, -1 where the case has no mask.
        settled: by metric (N,), values of cases that were settled against other arms; empty before.
    """

    classes: tuple[str, ...]
    values: Mapping[str, Array]
    predicted: Counts
    truth: Counts
    settled: Mapping[str, Array] = field(default_factory=dict)

    def cases(self, metric: str) -> Array:
        """Return (N,) means over the classes of each case, NaN where every class is skipped."""
        if metric in self.settled:
            return self.settled[metric]
        values = self.values[metric]
        known = ~np.isnan(values)
        count = known.sum(1)
        total = np.where(known, values, 0.0).sum(1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def outcomes(self) -> dict[str, dict[str, int]]:
        """Return by class how often it was there, missed, raised falsely, and neither there nor predicted."""
        there, said = self.truth > 0, self.predicted > 0
        known = self.truth >= 0
        counts = {"present": there, "missed": there & ~said, "false_alarms": known & ~there & said}
        counts["absent"] = known & ~there & ~said
        return {
            name: {what: int(mask[:, i].sum()) for what, mask in counts.items()} for i, name in enumerate(self.classes)
        }

    def take(self, cases: npt.NDArray[np.int64]) -> MaskScores:
        """Return the scores of the cases with these numbers."""
        return MaskScores(
            classes=self.classes,
            values={name: table[cases] for name, table in self.values.items()},
            predicted=self.predicted[cases],
            truth=self.truth[cases],
            settled={name: column[cases] for name, column in self.settled.items()},
        )

    def of_class(self, name: str) -> MaskScores:
        """Return the scores of one class."""
        column = [self.classes.index(name)]
        return MaskScores(
            classes=(name,),
            values={metric: table[:, column] for metric, table in self.values.items()},
            predicted=self.predicted[:, column],
            truth=self.truth[:, column],
        )

    @staticmethod
    def join(parts: Sequence[MaskScores]) -> MaskScores:
        """Return several sets of cases as one, in their order."""
        first = parts[0]
        return MaskScores(
            classes=first.classes,
            values={name: np.concatenate([part.values[name] for part in parts]) for name in first.values},
            predicted=np.concatenate([part.predicted for part in parts]),
            truth=np.concatenate([part.truth for part in parts]),
            settled={name: np.concatenate([part.settled[name] for part in parts]) for name in first.settled},
        )
