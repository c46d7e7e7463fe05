"""Shifted: what a shift between domains costs, and the share of it that each recipe recovers. No torch.

Source-only training is the study's baseline where that learns from the source's labels, else the first recipe that
does. Target-supervised training is the recipe with `learn: target` that is most like it, its objective and procedure
counting most. The cost is how much worse source-only is on the target's test cases than on the source's; the gap is
how much better target-supervised is than source-only, both on the target's test cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from allograft.core.task import Task
from allograft.data.predictions import Predictions
from allograft.metrics.judgement import Judgement, take
from allograft.metrics.left_out import Scored, left_out
from allograft.metrics.metric import Metric
from allograft.stats.bootstrap import ArmReplicates
from allograft.stats.evidence import from_t
from allograft.stats.share import Share, share_of_gap
from allograft.stats.verdict import MIN_UNITS
from allograft.study.cells import cells_of
from allograft.study.compared import Estimate, Pair, seen_from
from allograft.study.domain_gap import Cost, Domain, Recovered, Shifted
from allograft.study.feature_map import mapped
from allograft.study.judge import Cell, arms_of
from allograft.study.judged import estimate_of
from allograft.study.outcome import RunKey
from allograft.study.shift_words import LABELS, recovered_words, selection_words, shift_words
from allograft.study.store import RunStore

__all__ = ["Judged", "judge_shift", "reference_recipes", "shift_of"]

LIKE = ("objective", "procedure", "tuning", "start", "source", "encoder")
"""By what two recipes are alike, the most important first."""


class Judged(NamedTuple):
    """What a table knows already.

    Args:
        cells: predictions of the target's test cases.
        metric: the primary metric.
        judgement: estimates of all recipes by it.
        pairs: settled comparisons.
    """

    cells: Sequence[Cell]
    metric: Metric
    judgement: Judgement
    pairs: Sequence[Pair]


def shift_of(facts: Mapping[str, Any], dataset: str) -> Mapping[str, Any] | None:
    """Return the shift of a studied data set as the study file says it, None where it has none."""
    specs = facts.get("spec", {}).get("study", {}).get("datasets", ())
    return next((spec.get("shift") for spec in specs if spec["name"] == dataset), None)


def judge_shift(store: RunStore, keys: Sequence[RunKey], facts: Mapping[str, Any], judged: Judged) -> Shifted | None:
    """Judge the shift of one data set, None where it has none.

    Args:
        store: of the study.
        keys: the table's runs.
        facts: of the study.
        judged: what the table knows already.
    """
    spec = shift_of(facts, keys[0].dataset)
    if spec is None:
        return None
    names = [cell.recipe for cell in judged.cells]
    words = {name: facts["recipes"][name] for name in dict.fromkeys(names)}
    lower, upper, rule = reference_recipes(words, facts["baseline"])
    data = facts["data"][keys[0].dataset]
    there = [key for key in keys if (store.run_folder(key.id) / "predictions-source.parquet").exists()]
    home = cells_of(store, there, Task.model_validate(data["task"]), "source")
    domains = _domains(store, keys, there, judged, home)
    default = facts["spec"]["study"].get("select_by", "metric")
    found = Shifted(
        source=tuple(dict.fromkeys(d.name for d in domains if d.side == "source")) or tuple(spec.get("source", ())),
        target=tuple(spec["target"]),
        few=spec.get("labels", 0),
        source_only=lower,
        target_supervised=upper,
        rule=rule,
        cost=_cost(judged, home, lower) if lower and home else None,
        domains=domains,
        maps=mapped(store, keys),
        selections={name: selection_words(one, default) for name, one in words.items()},
    )
    found = _with_gap(found, judged, words, data["unit"])
    return found.model_copy(update={"sentences": shift_words(found, data["unit"], judged.metric)})


def reference_recipes(recipes: Mapping[str, Mapping[str, Any]], baseline: str) -> tuple[str | None, str | None, str]:
    """Return the source-only and the target-supervised recipe, and in words how they were found."""
    learn = {name: words.get("learn", "source") for name, words in recipes.items()}
    lower = next((n for n in [baseline, *recipes] if learn.get(n) == "source"), None)
    uppers = [name for name, which in learn.items() if which == "target"]
    like = recipes[lower] if lower else recipes.get(baseline, {})
    alike = {name: [recipes[name].get(field) == like.get(field) for field in LIKE] for name in uppers}
    upper = max(uppers, key=lambda name: alike[name], default=None)
    said = "No recipe learns from the source alone."
    if lower is not None:
        why = "the baseline" if lower == baseline else "the first recipe that learns from the source's labels"
        said = f"Source-only is {lower}, {why}."
    if upper is None:
        return lower, None, f"{said} No finished recipe has learn: target, so there is no upper bound and no gap."
    same = (
        "with the same objective and procedure" if all(alike[upper][:2]) else "though by another objective or procedure"
    )
    return lower, upper, f"{said} Target-supervised is {upper}, which learns from all of the target's labels, {same}."


def _with_gap(found: Shifted, judged: Judged, words: Mapping[str, Mapping[str, Any]], unit: str) -> Shifted:
    """Add the gap, and what every other recipe gains and recovers of it."""
    lower, upper = found.source_only, found.target_supervised
    if lower is None:
        return found
    pairs = {p.a: p for p in (seen_from(p, lower) for p in judged.pairs if lower in {p.a, p.b})}
    gap = pairs.get(upper or "")
    shown = gap is not None and gap.ci is not None and gap.n_units >= MIN_UNITS and gap.ci[0] > 0
    metric, arms = arms_of(judged.cells, judged.metric)
    number = {arm.name: i for i, arm in enumerate(arms)}
    draws = left_out(Scored(metric, arms)) if shown and upper else None
    rows = []
    for name, pair in pairs.items():
        if words[name].get("learn") == "target":
            continue
        share = share_of_gap(draws, number[name], number[lower], number[upper]) if draws and upper else None
        rows.append(_recovered(pair, found, share, LABELS[words[name].get("learn", "source")]))
    rows.sort(key=lambda row: -(row.gain.mean if row.gain.mean is not None else -np.inf))
    changed = {"gap": _gain(gap) if gap else None, "gap_shown": shown, "recovered": tuple(rows)}
    whole = found.model_copy(update=changed)
    said = tuple(row.model_copy(update={"sentence": recovered_words(row, whole, unit, judged.metric)}) for row in rows)
    return whole.model_copy(update={"recovered": said})


def _recovered(pair: Pair, found: Shifted, share: Share | None, labels: str) -> Recovered:
    lost = pair.verdict == "better" and (pair.difference or 0) < 0
    ends = (None, None) if share is None else (_finite(share.low), _finite(share.high))
    return Recovered(
        recipe=pair.a,
        labels=labels,
        selection=found.selections[pair.a],
        gain=_gain(pair),
        verdict="worse" if lost else pair.verdict,
        p_adjusted=pair.p_adjusted,
        share=None if share is None else share.value,
        low=ends[0],
        high=ends[1],
    )


def _gain(pair: Pair) -> Estimate:
    low, high = pair.ci or (None, None)
    return Estimate(mean=pair.difference, low=low, high=high, n_units=pair.n_units, method=pair.test)


def _cost(judged: Judged, home: Sequence[Cell], lower: str) -> Cost | None:
    """Return what source-only training loses between its own domains and the target's; a better metric is larger."""
    parts = []
    for cells in (home, judged.cells):
        metric, arms = arms_of(cells, judged.metric)
        parts.append(Scored(metric, [arm for arm in arms if arm.name == lower]))
    if not all(part.arms for part in parts):
        return None
    if len({name for part in parts for name in part.arms[0].predictions[0].groups}) < 2:
        return None
    draws = left_out(*parts)
    sign = 1.0 if judged.metric.larger_is_better else -1.0
    units = [len(set(part.arms[0].predictions[0].groups)) for part in parts]
    there, here = draws.arm(0), draws.arm(1)
    difference = draws.difference(0, 1)
    # Units of the two sides may differ in number: the smaller side bounds what is known of the error.
    evidence = from_t(
        sign * difference.observed, difference.jackknife_error(), min(units) - 1, n_units=min(units), test="jackknife t"
    )
    known = min(units) >= MIN_UNITS and bool(np.isfinite(evidence.ci).all())
    lost = Estimate(
        mean=_finite(evidence.difference),
        low=_finite(evidence.ci[0]) if known else None,
        high=_finite(evidence.ci[1]) if known else None,
        n_units=min(units),
        method="jackknife t",
    )
    sides = [Estimate(mean=_finite(one.observed), n_units=n) for one, n in zip((there, here), units, strict=True)]
    return Cost(home=sides[0], away=sides[1], lost=lost, p=_finite(evidence.p) if known else None)


def _domains(
    store: RunStore, keys: Sequence[RunKey], there: Sequence[RunKey], judged: Judged, home: Sequence[Cell]
) -> tuple[Domain, ...]:
    """Return every recipe by domain, targets first; nothing where runs are older than domains in their tables."""
    found = []
    sides: tuple[tuple[str, Sequence[RunKey], str, Sequence[Cell]], ...] = (
        ("target", keys, "test", judged.cells),
        ("source", there, "source", home),
    )
    for side, runs, part, cells in sides:
        held: dict[str, set[str]] = {}
        for key in runs:
            frame = store.predictions(key.id, part)
            for case, domain in zip(frame["case"], frame.get("domain", ()), strict=False):
                held.setdefault(domain, set()).add(case)
        whole = judged.judgement if side == "target" and len(held) == 1 else None
        found += [_domain(name, side, _only(cells, held[name]), judged.metric, whole) for name in sorted(held)]
    return tuple(found)


def _only(cells: Sequence[Cell], cases: set[str]) -> list[Cell]:
    """Return the cells with these cases; folds without any are left out."""

    def kept(p: Predictions) -> Predictions:
        return take(p, np.array([i for i, name in enumerate(p.ids) if name in cases], dtype=np.int64))

    return [replace(cell, folds=tuple(f for f in map(kept, cell.folds) if len(f))) for cell in cells]


def _domain(name: str, side: str, cells: Sequence[Cell], metric: Metric, whole: Judgement | None) -> Domain:
    by_folds, arms = arms_of(cells, metric)
    first = arms[0].predictions[0]
    units = len(set(first.groups))
    if whole is not None and units >= MIN_UNITS:
        estimates = {arm.name: estimate_of(whole, arm.name) for arm in arms}
    elif units > 1:
        draws = left_out(Scored(by_folds, arms))
        estimates = {arm.name: _estimate(draws, i, units, metric) for i, arm in enumerate(arms)}
    else:
        values = {arm.name: float(np.mean([by_folds.value(p) for p in arm.predictions])) for arm in arms}
        estimates = {name: Estimate(mean=_finite(value), n_units=units) for name, value in values.items()}
    return Domain(name=name, side=side, n_units=units, n_cases=len(first), estimates=estimates)


def _estimate(draws: ArmReplicates, arm: int, units: int, metric: Metric) -> Estimate:
    """Return an arm's score; its interval from 6 units on, cut off at the ends of the metric's range."""
    one = draws.arm(arm)
    if units < MIN_UNITS or not np.isfinite(one.jackknife).all():
        return Estimate(mean=_finite(one.observed), n_units=units)
    found = from_t(one.observed, one.jackknife_error(), units - 1, n_units=units, test="jackknife t")
    low, high = max(found.ci[0], metric.low), min(found.ci[1], metric.high)
    return Estimate(mean=_finite(one.observed), low=_finite(low), high=_finite(high), n_units=units, method=found.test)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
