"""Measured: what both kinds of external validation say of a set of cases: metrics with intervals, and warnings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions
from allograft.metrics import metrics_for
from allograft.metrics.judgement import Arm, judge, take
from allograft.metrics.metric import Metric
from allograft.stats.verdict import MIN_UNITS
from allograft.study.external_result import Measured, Subset
from allograft.study.known_images import KnownImages
from allograft.study.winner import Chosen
from allograft.weights.card import read_card
from allograft.weights.contamination import contamination_notes

__all__ = ["known_number", "measured", "only", "subset_of", "warnings_of"]


def only(p: Predictions, ids: Sequence[str]) -> Predictions:
    """Return the predictions of the cases with these ids."""
    wanted = set(ids)
    return take(p, np.array([i for i, name in enumerate(p.ids) if name in wanted], dtype=np.int64))


def subset_of(p: Predictions, cohort: Cohort, column: str, value: str) -> Subset:
    """Return every metric on these cases; below 6 units nobody can tell, so there is no interval."""
    units = len(set(p.groups))
    few = units < MIN_UNITS
    note = f"cannot tell: {units} {cohort.unit}(s), at least {MIN_UNITS} are needed for an interval" if few else ""
    counts = _cases_by_class(p)
    metrics = metrics_for(p.task.kind).values() if len(p) else ()
    return Subset(
        column=column,
        value=value,
        cases=len(p),
        units=units,
        classes=counts,
        metrics=tuple(measured(metric, p, cohort.unit) for metric in metrics),
        note=note if len(p) else "no case of this value could be used",
    )


def _cases_by_class(p: Predictions) -> dict[str, int]:
    """Return how many cases hold each class."""
    if p.masks is not None:
        return {name: counts["present"] for name, counts in p.masks.outcomes().items()}
    several = p.task.kind == "multilabel"
    held = {k: p.targets[:, k] == 1 if several else p.targets == k for k in range(len(p.task.classes))}
    return {name: int(held[k].sum()) for k, name in enumerate(p.task.classes)}


def measured(metric: Metric, p: Predictions, unit: str) -> Measured:
    """Return a metric with its interval; without one where fewer than 6 units have a value."""
    plain, cases = metric.value(p), metric.cases(p)
    has = np.ones(len(p), bool) if cases is None else ~np.isnan(cases)
    units = {group for group, known in zip(p.groups, has, strict=True) if known}
    if len(units) < MIN_UNITS or not np.isfinite(plain):
        return Measured(metric=metric.name, title=metric.title, value=known_number(plain))
    one = judge(metric, [Arm(name="networks", predictions=(p,))], unit=unit)
    estimate = one.estimates[0]
    return Measured(
        metric=metric.name,
        title=metric.title,
        value=known_number(estimate.mean),
        low=known_number(estimate.ci.low),
        high=known_number(estimate.ci.high),
        method=estimate.ci.method,
    )


def warnings_of(
    chosen: Chosen, cohort: Cohort, p: Predictions, doubles: Sequence[str], known: KnownImages | None
) -> list[str]:
    """Return what makes the validation less external than its name."""
    said = list(cohort.notes)
    if doubles:
        said.append(
            f"{len(doubles)} of {len(p)} external images are images of the study itself (first: {doubles[0]}): "
            "the result is not external. Leave them out."
        )
    if known is None or not len(known):
        said.append("the study's images are not beside the networks, so doubled images could not be looked for.")
    missing = [name for name, count in _cases_by_class(p).items() if not count]
    if missing:
        said.append(f"no external case of {', '.join(missing)}: metrics that need it have no value.")
    card = chosen.bundles[0] / "card.yaml"
    if card.exists():
        said += contamination_notes(cohort.name, cohort.seen_as, read_card(card))
    return said


def known_number(value: float) -> float | None:
    """Return the value; None where it is not finite, which JSON cannot say."""
    return float(value) if np.isfinite(value) else None
