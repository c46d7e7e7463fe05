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
from allograft.stats.bootstrap import cluster_replicates
from allograft.stats.delong import delong, delong_evidence
from allograft.stats.evidence import Evidence, from_replicates
from allograft.stats.intervals import SMALL, Interval, mean_interval
from allograft.stats.paired import paired_evidence
from allograft.stats.units import paired_unit_means
from allograft.stats.verdict import Arms, Comparison, compare, settle

__all__ = ["Arm", "ArmEstimate", "Judgement", "judge", "take"]

RESAMPLES = 1999
"""Bootstrap draws for metrics of a set (ours): each draw computes the metric of every run again."""


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
    metric: Metric,
    arms: Sequence[Arm],
    *,
    unit: str,
    margin: float | None = None,
    pairs: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> Judgement:
    """Estimate every arm and compare every pair.

    Args:
        metric: what is judged.
        arms: at least one; all on the same cases.
        unit: what an independent unit is ("patient"), as `Predictions.groups` names them.
        margin: smallest difference that matters; the metric's own by default.
        pairs: whether to compare; False estimates only.
        level: confidence level.
        seed: of the bootstrap's draws.

    Raises:
        DataError: the arms predict different cases, or an arm has no predictions.
    """
    _check(arms)
    first = arms[0].predictions[0]
    found = _evidence(metric, arms, level, seed, pairs=pairs)
    direction = metric.larger_is_better
    comparisons = [
        compare(
            found.pairs[i, j],
            arms=Arms(a=arms[i].name, b=arms[j].name, metric=metric.title, larger_is_better=direction),
            unit=unit,
            margin=metric.margin if margin is None else margin,
        )
        for i, j in found.pairs
    ]
    estimates = tuple(_within(metric, one) for one in found.estimates)
    skipped = () if first.task.kind in {"regression", "segmentation"} else skipped_classes(first)
    return Judgement(metric.name, estimates, settle(comparisons), skipped, found.dropped)


def take(p: Predictions, cases: npt.NDArray[np.int64]) -> Predictions:
    """Return the predictions of the cases with these numbers (m,); repeats are allowed."""
    numbers = cases.tolist()
    return replace(
        p,
        ids=tuple(map(p.ids.__getitem__, numbers)),
        groups=tuple(map(p.groups.__getitem__, numbers)),
        logits=p.logits[cases],
        probabilities=p.probabilities[cases],
        targets=p.targets[cases],
        masks=None if p.masks is None else p.masks.take(cases),
    )


class _Found(NamedTuple):
    """Estimates of the arms, evidence on each pair (i < j), and units without a target."""

    estimates: list[ArmEstimate]
    pairs: dict[tuple[int, int], Evidence]
    dropped: tuple[str, ...] = ()


def _evidence(metric: Metric, arms: Sequence[Arm], level: float, seed: int, *, pairs: bool) -> _Found:
    """Choose the way that is valid for this metric and these predictions."""
    cases = [_mean_cases(metric, arm) for arm in arms]
    known = [values for values in cases if values is not None]
    if len(known) == len(arms):
        return _over_unit_means(arms, known, level, seed, pairs=pairs)
    return _by_delong(arms, level) if _delong_fits(metric, arms) else _by_resampling(metric, arms, level, seed)


def _mean_cases(metric: Metric, arm: Arm) -> Array | None:
    """Return (N,) per-case values averaged over seeds, or None for metrics of a set."""
    known = [values for values in (metric.cases(p) for p in arm.predictions) if values is not None]
    return np.asarray(np.mean(known, axis=0), dtype=np.float64) if known else None


def _over_unit_means(arms: Sequence[Arm], cases: Sequence[Array], level: float, seed: int, *, pairs: bool) -> _Found:
    groups = arms[0].predictions[0].groups
    # Targets are the same for all arms, so every arm has a value for the same units.
    paired = [paired_unit_means(values, values, groups) for values in cases]
    means = [one.a for one in paired]
    estimates = [
        ArmEstimate(
            arm.name,
            float(values.mean()) if values.size else float("nan"),
            mean_interval(values, level, seed=seed),
            len(values),
            len(arm.predictions),
        )
        for arm, values in zip(arms, means, strict=True)
    ]
    compared = {
        (i, j): paired_evidence(means[i], means[j], level=level, seed=seed)
        for i, j in combinations(range(len(arms) if pairs else 0), 2)
    }
    return _Found(estimates, compared, paired[0].dropped)


def _delong_fits(metric: Metric, arms: Sequence[Arm]) -> bool:
    """Tell whether DeLong is valid: binary AUROC, a run per arm, a case per unit, enough cases."""
    first = arms[0].predictions[0]
    if not isinstance(metric, Auroc) or first.task.kind != "binary":
        return False
    single = all(len(arm.predictions) == 1 for arm in arms) and len(set(first.groups)) == len(first)
    positives, present = int((first.targets == 1).sum()), int((first.targets >= 0).sum())
    return single and present == len(first) >= SMALL and 2 <= positives <= present - 2


def _by_delong(arms: Sequence[Arm], level: float) -> _Found:
    first = arms[0].predictions[0]
    found = delong(first.targets, [arm.predictions[0].probabilities[:, 1] for arm in arms], first.groups)
    estimates = [
        ArmEstimate(arm.name, float(found.auroc[k]), Interval(*found.interval(k, level), level, "DeLong"), found.n, 1)
        for k, arm in enumerate(arms)
    ]
    pairs = {(i, j): delong_evidence(found, i, j, level=level) for i, j in combinations(range(len(arms)), 2)}
    return _Found(estimates, pairs)


def _by_resampling(metric: Metric, arms: Sequence[Arm], level: float, seed: int) -> _Found:
    groups = arms[0].predictions[0].groups

    def statistic(cases: npt.NDArray[np.int64]) -> Array:
        return np.array([np.mean([metric.value(take(p, cases)) for p in arm.predictions]) for arm in arms])

    few = len(set(groups)) < SMALL
    draws = cluster_replicates(statistic, groups, resamples=0 if few else RESAMPLES, seed=seed)
    estimates = []
    for k, arm in enumerate(arms):
        one = from_replicates(draws.arm(k), level=level)
        interval = Interval(*one.ci, level, one.test if one.se > 0 else "no spread")
        estimates.append(ArmEstimate(arm.name, one.difference, interval, one.n_units, len(arm.predictions)))
    pairs = {(i, j): from_replicates(draws.difference(i, j), level=level) for i, j in combinations(range(len(arms)), 2)}
    return _Found(estimates, pairs)


def _within(metric: Metric, estimate: ArmEstimate) -> ArmEstimate:
    """Cut the interval off at the ends of the metric's range."""
    ci = estimate.ci
    return estimate._replace(ci=ci._replace(low=max(ci.low, metric.low), high=min(ci.high, metric.high)))


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
