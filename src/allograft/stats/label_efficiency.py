"""Label efficiency: what a metric is worth at each number of labels, and how many a target needs.

Numbers of labels are those that were trained with; nothing is interpolated between them, and a
target that was never reached stays "more than the largest tried".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.stats.intervals import Interval, mean_interval

__all__ = ["CurvePoint", "LabelsNeeded", "label_curve", "label_saving", "labels_needed"]


class CurvePoint(NamedTuple):
    """One point of a label-efficiency curve.

    Args:
        labels: labelled cases trained with.
        mean: over units.
        interval: of that mean.
        n: units.
    """

    labels: int
    mean: float
    interval: Interval
    n: int


class LabelsNeeded(NamedTuple):
    """Labels that a target needs.

    Args:
        labels: smallest number tried at which the mean reaches the target, None for never.
        more_than: largest number tried that misses the target below `labels` (0 where the
            smallest already reaches it); with `labels` it brackets the truth.
    """

    labels: int | None
    more_than: int


def label_curve(
    values: Mapping[int, npt.NDArray[np.float64] | Sequence[float]], *, level: float = 0.95, seed: int = 0
) -> tuple[CurvePoint, ...]:
    """Summarise a label-efficiency curve, from few labels to many.

    Args:
        values: by number of labels, (n,) one finite value per unit.
        level: confidence level of the intervals.
        seed: of the bootstrap's draws.

    Raises:
        DataError: there are no points, or a point has no values.
    """
    points = []
    for labels in sorted(values):
        here = np.asarray(values[labels], dtype=np.float64)
        if here.size == 0:
            msg = f"the label-efficiency curve has no values at {labels} labels. Leave the point out."
            raise DataError(msg)
        points.append(CurvePoint(labels, float(here.mean()), mean_interval(here, level, seed=seed), here.size))
    if not points:
        msg = "a label-efficiency curve needs at least one number of labels."
        raise DataError(msg)
    return tuple(points)


def labels_needed(
    curve: Sequence[CurvePoint], target: float, *, larger_is_better: bool = True, lasting: bool = True
) -> LabelsNeeded:
    """Return the smallest tried number of labels whose mean reaches the target.

    Args:
        curve: from `label_curve`.
        target: value to reach.
        larger_is_better: direction of the metric.
        lasting: every larger number must reach it too; one lucky point is not an answer.
    """
    good = [point.mean >= target if larger_is_better else point.mean <= target for point in curve]
    for i in range(len(curve)):
        if all(good[i:]) if lasting else good[i]:
            return LabelsNeeded(curve[i].labels, curve[i - 1].labels if i else 0)
    return LabelsNeeded(None, curve[-1].labels)


def label_saving(baseline: LabelsNeeded, arm: LabelsNeeded) -> tuple[float, float]:
    """Return the bounds (low, high) of labels(baseline) / labels(arm), infinity where censored.

    Both numbers are known only to lie between two that were tried, so their ratio is a range.

    >>> label_saving(LabelsNeeded(200, 100), LabelsNeeded(50, 20))
    (2.0, 10.0)
    """
    low = baseline.more_than / arm.labels if arm.labels else 0.0
    high = baseline.labels / arm.more_than if baseline.labels and arm.more_than else float("inf")
    return low, high
