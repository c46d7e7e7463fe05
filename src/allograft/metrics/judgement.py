"""Judgement: from predictions of several arms to their intervals and settled comparisons.

Per-case metrics are averaged over seeds, then inside each independent unit, and compared over units.
Metrics of a set (AUROC) are averaged over seeds and resampled over units: jackknife t below 40 units;
from 40 on DeLong where it is valid (binary AUROC, one run per arm, one case per unit), else BCa.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.data.predictions import Predictions
from allograft.metrics.auroc import Auroc
from allograft.metrics.metric import Array, Metric
from allograft.metrics.questions import skipped_classes
from allograft.stats.bootstrap import RESAMPLES, ArmReplicates, cluster_replicates
from allograft.stats.delong import delong, delong_evidence
from allograft.stats.evidence import Evidence, from_replicates
from allograft.stats.intervals import SMALL, Interval, mean_interval
from allograft.stats.paired import paired_evidence
from allograft.stats.units import paired_unit_means, unit_index
from allograft.stats.verdict import Arms, Comparison, compare, settle

__all__ = ["Arm", "ArmEstimate", "Judgement", "judge", "take"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A recipe's predictions on the test cases.

    Args:
        name: of the recipe.
        predictions: one per seed, of the same cases in the same order; folds are joined before.
    """

    name: str
    predictions: tuple[Predictions, ...]


class ArmEstimate(NamedTuple):
    """How good an arm is.

    Args:
        name: of the arm.
        mean: the metric over seeds; of per-case metrics, every independent unit weighs the same.
        ci: its interval over units.
        n_units: independent units.
        seeds: runs that were averaged.
    """

    name: str
    mean: float
    ci: Interval
    n_units: int
    seeds: int


class Judgement(NamedTuple):
    """What is known of the arms under one metric.

    Args:
        metric: its name.
        estimates: one per arm, in the given order.
        comparisons: one per pair of arms, corrected together.
        skipped: classes that the metric leaves out, having no two answers in the test cases.
        dropped: units that have no target.
    """

    metric: str
    estimates: tuple[ArmEstimate, ...]
    comparisons: tuple[Comparison, ...]
    skipped: tuple[str, ...]
    dropped: tuple[str, ...]


def judge(
    metric: Metric, arms: Sequence[Arm], *, unit: str, margin: float | None = None, level: float = 0.95, seed: int = 0
) -> Judgement:
    """Estimate every arm and compare every pair.

    Args:
        metric: what is judged.
        arms: at least one; all on the same cases.
        unit: what an independent unit is ("patient"), as `Predictions.groups` names them.
        margin: smallest difference that matters; the metric's own by default.
        level: confidence level.
        seed: of the bootstrap's draws.

    Raises:
        DataError: the arms predict different cases, or an arm has no predictions.
    """
    _check(arms)
    first = arms[0].predictions[0]
    per_case = [_mean_cases(metric, arm) for arm in arms]
    margin = metric.margin if margin is None else margin
    pairs = list(combinations(range(len(arms)), 2))
    dropped: tuple[str, ...] = ()
    if any(values is None for values in per_case):
        replicates = _replicates(metric, arms, seed)
        estimates = tuple(_set_estimate(arm, replicates, k, level) for k, arm in enumerate(arms))
        evidence = [_set_evidence(metric, (arms[i], arms[j]), replicates, (i, j), level) for i, j in pairs]
    else:
        table = [values for values in per_case if values is not None]
        units = [paired_unit_means(values, values, first.groups) for values in table]
        dropped = units[0].dropped
        estimates = tuple(
            ArmEstimate(
                arm.name, _mean(one.a), mean_interval(one.a, level, seed=seed), len(one.a), len(arm.predictions)
            )
            for arm, one in zip(arms, units, strict=True)
        )
        evidence = [paired_evidence(units[i].a, units[j].a, level=level, seed=seed) for i, j in pairs]
    direction = metric.larger_is_better
    comparisons = [
        compare(
            found,
            arms=Arms(a=arms[i].name, b=arms[j].name, metric=metric.title, larger_is_better=direction),
            unit=unit,
            margin=margin,
        )
        for (i, j), found in zip(pairs, evidence, strict=True)
    ]
    skipped = () if first.task.kind == "regression" else skipped_classes(first)
    return Judgement(metric.name, estimates, settle(comparisons), skipped, dropped)


def take(p: Predictions, cases: npt.NDArray[np.int64]) -> Predictions:
    """Return the predictions of the cases with these numbers (m,); repeats are allowed."""
    return replace(
        p,
        ids=tuple(p.ids[i] for i in cases),
        groups=tuple(p.groups[i] for i in cases),
        logits=p.logits[cases],
        probabilities=p.probabilities[cases],
        targets=p.targets[cases],
    )


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")


def _mean_cases(metric: Metric, arm: Arm) -> Array | None:
    """Return (N,) per-case values averaged over seeds, or None for metrics of a set."""
    table = [metric.cases(p) for p in arm.predictions]
    known = [values for values in table if values is not None]
    return np.asarray(np.mean(known, axis=0), dtype=np.float64) if known else None


def _replicates(metric: Metric, arms: Sequence[Arm], seed: int) -> ArmReplicates:
    groups = arms[0].predictions[0].groups

    def statistic(cases: npt.NDArray[np.int64]) -> Array:
        return np.array([np.mean([metric.value(take(p, cases)) for p in arm.predictions]) for arm in arms])

    few = len(unit_index(groups)[0]) < SMALL
    return cluster_replicates(statistic, groups, resamples=0 if few else RESAMPLES, seed=seed)


def _set_estimate(arm: Arm, replicates: ArmReplicates, k: int, level: float) -> ArmEstimate:
    found = from_replicates(replicates.arm(k), level=level)
    ci = Interval(*found.ci, level, found.test)
    return ArmEstimate(arm.name, found.difference, ci, found.n_units, len(arm.predictions))


def _set_evidence(
    metric: Metric, pair: tuple[Arm, Arm], replicates: ArmReplicates, which: tuple[int, int], level: float
) -> Evidence:
    a, b = (arm.predictions for arm in pair)
    single = len(a) == len(b) == 1 and len(set(a[0].groups)) == len(a[0]) >= SMALL
    present = a[0].targets >= 0
    if isinstance(metric, Auroc) and a[0].task.kind == "binary" and single and bool(present.all()):
        scores = np.stack([a[0].probabilities[:, 1], b[0].probabilities[:, 1]])
        if min(a[0].targets.sum(), (1 - a[0].targets).sum()) >= 2:
            return delong_evidence(delong(a[0].targets, scores, a[0].groups), level=level)
    return from_replicates(replicates.difference(*which), level=level)


def _check(arms: Sequence[Arm]) -> None:
    runs = [p for arm in arms for p in arm.predictions]
    if not runs or any(not arm.predictions for arm in arms):
        msg = "a judgement needs at least one arm, and predictions of every arm. Leave out arms that failed."
        raise DataError(msg)
    first = runs[0]
    for arm in arms:
        for p in arm.predictions:
            if p.ids != first.ids or p.groups != first.groups or not np.array_equal(p.targets, first.targets):
                msg = (
                    f"arm {arm.name!r} predicts other cases, in another order or with other targets than arm "
                    f"{arms[0].name!r}; pairs must be of the same cases. Join folds in one order before comparing."
                )
                raise DataError(msg)
