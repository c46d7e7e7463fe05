"""Left out: metrics of arms on all units and again without each one, for statistics of several arms at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.metrics.judgement import Arm, take
from allograft.metrics.metric import Array, Metric
from allograft.stats.bootstrap import ArmReplicates, cluster_replicates
from allograft.stats.units import unit_index

__all__ = ["Scored", "left_out"]


class Scored(NamedTuple):
    """Arms on the same cases, and what scores them; other cases need not be those of other `Scored`.

    Args:
        metric: of the arms.
        arms: at least one; runs of an arm are averaged.
    """

    metric: Metric
    arms: Sequence[Arm]


def left_out(*parts: Scored) -> ArmReplicates:
    """Return every arm's score, over seeds, on all units and without each unit; no draws are made.

    Several parts hold several sets of cases (source and target); a unit that is in both is left out of both.
    As in `judge`, a metric with a value for each case is averaged within units first, then over units.

    Returns:
        Arms of all parts in order; NaN where a metric has no value.

    Raises:
        DataError: fewer than two units.
    """
    groups = [part.arms[0].predictions[0].groups for part in parts]
    ends = np.cumsum([0, *map(len, groups)])
    means = [_unit_means(part) for part in parts]

    def statistic(cases: npt.NDArray[np.int64]) -> Array:
        return np.concatenate(
            [
                _scores(part, known, cases[(cases >= begin) & (cases < end)] - begin)
                for part, known, begin, end in zip(parts, means, ends[:-1], ends[1:], strict=True)
            ]
        )

    return cluster_replicates(statistic, [name for one in groups for name in one], resamples=0)


def _unit_means(part: Scored) -> tuple[Array, npt.NDArray[np.int64]] | None:
    """Return (arms, G) means of the units, NaN where a unit has no value, and each case's unit; None for sets."""
    cases = [[part.metric.cases(p) for p in arm.predictions] for arm in part.arms]
    if any(values is None for one in cases for values in one):
        return None
    _, index = unit_index(part.arms[0].predictions[0].groups)
    values = np.stack([np.mean([v for v in one if v is not None], axis=0) for one in cases])
    known = ~np.isnan(values)
    count = np.stack([np.bincount(index, weights=row) for row in known])
    total = np.stack([np.bincount(index, weights=row) for row in np.where(known, values, 0.0)])
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), index


def _scores(part: Scored, known: tuple[Array, npt.NDArray[np.int64]] | None, cases: npt.NDArray[np.int64]) -> Array:
    """Return one value per arm on the cases with these numbers."""
    if not len(cases):
        return np.full(len(part.arms), np.nan)
    if known is None:
        return np.array([np.mean([part.metric.value(take(p, cases)) for p in arm.predictions]) for arm in part.arms])
    means, index = known
    chosen = means[:, np.unique(index[cases])]
    has = ~np.isnan(chosen)
    return np.where(has.any(1), np.where(has, chosen, 0.0).sum(1) / np.maximum(has.sum(1), 1), np.nan)
