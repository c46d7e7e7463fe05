"""LeftOut: recipes over domains that were left out in turn, the domains counted as units. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from allograft.metrics.metric import Metric
from allograft.stats.bootstrap import ArmReplicates
from allograft.stats.share import share_of_gap
from allograft.stats.verdict import MIN_UNITS
from allograft.study.domain_gap import LeftOut
from allograft.study.shifted import shift_of
from allograft.study.summary import Table

__all__ = ["judge_left_out", "left_out_sets"]


def left_out_sets(facts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return by data set that was taken apart (see `study.shift.apart`) the part that each domain is the target of."""
    specs = facts.get("spec", {}).get("study", {}).get("datasets", ())
    found: dict[tuple[str, frozenset[str]], dict[str, str]] = {}
    for spec in specs:
        shift = shift_of(facts, spec["name"])
        if not shift or len(shift["target"]) != 1 or not shift.get("source"):
            continue
        (domain,), end = shift["target"], f"-to-{shift['target'][0]}"
        if spec["name"].endswith(end):
            every = frozenset((domain, *shift["source"]))
            found.setdefault((spec["name"].removesuffix(end), every), {})[domain] = spec["name"]
    return {name: parts for (name, every), parts in found.items() if set(parts) == every}


def judge_left_out(tables: Sequence[Table], facts: Mapping[str, Any], metric: Metric) -> tuple[LeftOut, ...]:
    """Sum up every data set of which domains were left out in turn; only recipes that all judged domains have count.

    Args:
        tables: all of the study, shifts judged.
        facts: of the study.
        metric: the primary metric.
    """
    by_name = {table.dataset: table for table in tables if table.shift is not None}
    found = []
    for name, parts in left_out_sets(facts).items():
        known = {domain: by_name[part] for domain, part in parts.items() if part in by_name}
        if known:
            found.append(_summed(name, known, [d for d in parts if d not in known], metric))
    return tuple(found)


def _summed(name: str, tables: Mapping[str, Table], missing: Sequence[str], metric: Metric) -> LeftOut:
    held = {domain: {r.name: r.estimate.mean for r in table.recipes} for domain, table in tables.items()}
    recipes = [r for r in next(iter(held.values())) if all(r in scores for scores in held.values())]
    values = {recipe: {domain: held[domain][recipe] for domain in held} for recipe in recipes}
    means = {recipe: _mean(list(row.values())) for recipe, row in values.items()}
    best = -1.0 if metric.larger_is_better else 1.0
    recipes.sort(key=lambda r: (means[r] is None, best * (means[r] or 0.0)))
    first = next(iter(tables.values())).shift
    assert first is not None, "tables without a shift are not asked"
    lower, upper = (r if r in recipes else None for r in (first.source_only, first.target_supervised))
    better = {
        recipe: sum(_above(values[recipe][d], values[lower][d], metric) for d in held)
        for recipe in recipes
        if lower is not None and recipe != lower
    }
    return LeftOut(
        dataset=name,
        domains=tuple(held),
        missing=tuple(missing),
        source_only=lower,
        values={recipe: values[recipe] for recipe in recipes},
        means={recipe: means[recipe] for recipe in recipes},
        better=better,
        shares=_shares(values, lower, upper, metric) if lower and upper else {},
        sentence=_sentence(name, list(held), missing),
    )


def _shares(
    values: Mapping[str, Mapping[str, float | None]], lower: str, upper: str, metric: Metric
) -> dict[str, tuple[float, float, float]]:
    """Return shares of the mean gap with domains as units; nothing below 6 domains, or where the gap is not shown."""
    names = list(values)
    scores = np.array([[np.nan if v is None else v for v in values[name].values()] for name in names])
    n = scores.shape[1]
    sign = 1 if metric.larger_is_better else -1
    gap = scores[names.index(upper)].mean() - scores[names.index(lower)].mean()
    if n < MIN_UNITS or not np.isfinite(scores).all() or sign * gap <= 0:
        return {}
    rest = (scores.sum(1, keepdims=True) - scores).T / (n - 1)
    draws = ArmReplicates(observed=scores.mean(1), boot=np.empty((0, len(names))), jackknife=rest)
    others = [name for name in names if name not in {lower, upper}]
    found = {name: share_of_gap(draws, *(names.index(one) for one in (name, lower, upper))) for name in others}
    return {name: (s.value, s.low, s.high) for name, s in found.items() if s is not None and np.isfinite(s).all()}


def _above(a: float | None, b: float | None, metric: Metric) -> bool:
    return a is not None and b is not None and (a > b if metric.larger_is_better else a < b)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _sentence(name: str, domains: Sequence[str], missing: Sequence[str]) -> str:
    said = f"{name}: {len(domains)} domains were each left out in turn, and all others gave the labels."
    if missing:
        said += f" Not judged yet: {', '.join(missing)}."
    if len(domains) < MIN_UNITS:
        return (
            f"{said} With {len(domains)} domains nobody can tell what another domain would show (at least {MIN_UNITS} "
            "are needed); within each domain the table of that domain decides."
        )
    return f"{said} Shares count each domain as one unit: they speak of further domains like these."
