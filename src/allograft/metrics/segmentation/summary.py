"""Summaries over cases: per-class means with the misses beside them, one value per case, fair pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.metrics.segmentation.metric import MaskMetric
from allograft.metrics.segmentation.score import ClassScore

__all__ = ["ClassSummary", "case_values", "settle_skipped", "summarise"]

Array = npt.NDArray[np.float64]


class ClassSummary(NamedTuple):
    """One class or region over all cases.

    Args:
        name: of the class.
        cases: all of them.
        present: cases where the truth holds the class.
        missed: of these, cases where nothing was predicted; they count as the worst value.
        false_alarms: cases where it was predicted and is not there; they count as the worst value.
        absent: cases with neither; skipped or perfect, as the metric says.
        mean: by metric, over all cases that have a value; NaN where none has.
        mean_found: by metric, over cases where both hold something: how good it is where it is found at all.
    """

    name: str
    cases: int
    present: int
    missed: int
    false_alarms: int
    absent: int
    mean: Mapping[str, float]
    mean_found: Mapping[str, float]


def summarise(cases: Sequence[Sequence[ClassScore]]) -> tuple[ClassSummary, ...]:
    """Return one summary per class.

    Args:
        cases: the rows of `score_case`, one sequence per case, all of the same classes and metrics.

    Raises:
        DataError: there are no cases, or they have different classes.
    """
    return tuple(_summary(rows) for rows in zip(*_checked(cases), strict=True))


def case_values(cases: Sequence[Sequence[ClassScore]], metric: str) -> Array:
    """Return (N,) means over the classes of each case, NaN where every class is skipped.

    A class counts in a case where it is true or predicted. A miss or a false alarm adds the worst
    value to the mean, so neither can make it better than leaving the class out would.

    Raises:
        DataError: there are no cases, or they have different classes.
    """
    return np.array([_mean([row.values[metric] for row in rows]) for rows in _checked(cases)])


def settle_skipped(values: npt.ArrayLike, metric: MaskMetric) -> Array:
    """Return the values of several arms with the skipped ones settled where another arm has one.

    A case where nothing is true is skipped for the arm that rightly predicts nothing, and scored for
    the arm that raises a false alarm. Paired as they are, the case would leave the comparison, and
    the false alarm would cost nothing; so the first arm gets the best value there.

    Args:
        values: (A, N) values of A arms on the same N cases.
        metric: what they are of.

    Returns:
        (A, N); a case is NaN for all arms or for none.

    >>> from allograft.metrics.segmentation.dice import Dice
    >>> settle_skipped([[0.5, np.nan, np.nan], [0.6, 0.0, np.nan]], Dice())
    array([[0.5, 1. , nan],
           [0.6, 0. , nan]])
    """
    values = np.asarray(values, dtype=np.float64)
    skipped = np.isnan(values)
    return np.where(skipped & ~skipped.all(axis=0), metric.best, values)


def _checked(cases: Sequence[Sequence[ClassScore]]) -> Sequence[Sequence[ClassScore]]:
    names = {tuple(row.name for row in rows) for rows in cases}
    if len(names) != 1:
        msg = f"cases: expected at least one, all scored for the same classes, got {len(cases)} with {sorted(names)}."
        raise DataError(msg)
    return cases


def _summary(rows: Sequence[ClassScore]) -> ClassSummary:
    outcomes = [row.outcome for row in rows]
    found = [row for row in rows if row.outcome == "both"]
    metrics = list(rows[0].values)
    return ClassSummary(
        name=rows[0].name,
        cases=len(rows),
        present=outcomes.count("both") + outcomes.count("missed"),
        missed=outcomes.count("missed"),
        false_alarms=outcomes.count("false_alarm"),
        absent=outcomes.count("absent"),
        mean={metric: _mean([row.values[metric] for row in rows]) for metric in metrics},
        mean_found={metric: _mean([row.values[metric] for row in found]) for metric in metrics},
    )


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are there; NaN for none. Skipped ones alone are NaN."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
