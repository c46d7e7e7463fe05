"""Label needs: learning curves of the recipes that ask for labels, and how many labels each took. No torch.

Scores are those of the networks on the way, on the test cases, averaged over folds within a seed. Nothing is
interpolated: a target is reached at a number of labels that was trained with. A seed that never reaches it is
censored at the most labels that it had, not left out.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from allograft.metrics.metric import Metric
from allograft.stats.convergence import Reached, median_steps, steps_to_threshold
from allograft.stats.intervals import mean_interval
from allograft.study.asked_rounds import asked_rounds
from allograft.study.cells import whole_seeds
from allograft.study.label_need import LabelNeed, LearningCurve, Need, Saving
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore
from allograft.study.summary import Table

__all__ = ["label_needs", "more_labels", "saving"]

REFERENCES = ("random", "entropy")
"""Acquisitions that others are compared with."""

Points = tuple[tuple[int, float], ...]


class Aim(NamedTuple):
    """A score to reach, and where it comes from."""

    target: float
    rule: str


def label_needs(
    store: RunStore, facts: Mapping[str, Any], keys: Sequence[RunKey], metric: Metric, tables: Sequence[Table]
) -> tuple[LabelNeed, ...]:
    """Return what recipes that ask for labels needed, by data set and number of labels at the beginning.

    Args:
        store: of the study.
        facts: its `study.json`.
        keys: finished runs.
        metric: the primary one.
        tables: what was judged, for the target.
    """
    found = []
    asking = acquisitions(facts)
    for cell in dict.fromkeys((key.dataset, key.label_fraction) for key in keys if key.recipe in asking):
        here = [k for k in keys if (k.dataset, k.label_fraction) == cell and k.recipe in asking]
        names = [name for name in asking if any(key.recipe == name for key in here)]
        planned = [RunKey.model_validate(key) for key in facts["keys"]]
        mine = [k for k in planned if (k.dataset, k.label_fraction) == cell]
        seeds = whole_seeds(mine, names, {key.id for key in here})
        curves = {name: _by_seed(store, [k for k in here if k.recipe == name], seeds, metric) for name in names}
        curves = {name: own for name, own in curves.items() if own}
        if curves:
            aim = _aim(facts, cell[0], metric, tables, {name: (asking[name], own) for name, own in curves.items()})
            need = _need(cell, aim, curves, asking, metric)
            kept = [k for k in here if k.seed in seeds]
            found.append(need.model_copy(update={"rounds": asked_rounds(store, kept, list(curves))}))
    return tuple(found)


def more_labels(needs: Sequence[LabelNeed]) -> list[str]:
    """Say that recipes end with more labels than they began with, which a comparison of all recipes must know."""
    said = []
    for need in needs:
        asking = [curve for curve in need.curves if curve.x]
        if asking:
            said.append(
                f"{need.dataset}, {need.label_fraction:.0%} of the labels at the beginning: "
                f"{', '.join(c.recipe for c in asking)} asked for more and ended with "
                f"{max(c.x[-1] for c in asking):g} labelled cases; recipes that ask for none had "
                f"{min(c.x[0] for c in asking):g}."
            )
    return said


def acquisitions(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the acquisition of each recipe that asks for labels, in the study's order."""
    out = {}
    for recipe in facts.get("spec", {}).get("study", {}).get("recipes", ()):
        settings = recipe.get("procedure", {}).get("active_learning")
        if settings is not None:
            out[recipe["name"]] = next(iter(settings["acquisition"]))
    return out


def saving(arm: Mapping[str, Reached], other: Mapping[str, Reached], *, recipe: str, against: str) -> Saving:
    """Return how many labels fewer `arm` took than `other`, over the seeds of both.

    A seed where only one reached the target bounds the ratio: the other's most labels stand for what it needed.
    A seed where neither did says nothing; then there is no interval, for the others may be the easy ones.

    >>> one, two = {"0": Reached(20, 80, 10)}, {"0": Reached(40, 80, 10)}
    >>> saving(one, two, recipe="a", against="b").percent
    50.0
    """
    ratios, bounds = [], set()
    seeds = [seed for seed in arm if seed in other]
    for seed in seeds:
        a, b = arm[seed], other[seed]
        if a.step is None and b.step is None:
            continue
        ratios.append(math.log((a.step or a.last) / (b.step or b.last)))
        bounds |= {"at most"} if a.step is None else {"at least"} if b.step is None else set()
    bound = "unknown" if not ratios or len(bounds) > 1 else next(iter(bounds), "equal")
    low = high = None
    if bound == "equal" and len(ratios) > 1 and len(ratios) == len(seeds):
        interval = mean_interval(np.array(ratios))
        low, high = _percent(interval.high), _percent(interval.low)
    return Saving.model_validate(
        {
            "recipe": recipe,
            "against": against,
            "percent": None if bound == "unknown" else _percent(float(np.mean(ratios))),
            "low": low,
            "high": high,
            "bound": bound,
            "seeds": len(ratios),
            "of": len(seeds),
        }
    )


def _percent(log_ratio: float) -> float:
    return round(100 * (1 - math.exp(log_ratio)), 10)


def _by_seed(store: RunStore, keys: Sequence[RunKey], seeds: Sequence[int], metric: Metric) -> dict[str, Points]:
    """Return by seed (labels, score) in order of labels, averaged over folds; only what all folds have."""
    folds: dict[int, list[list[tuple[int, float]]]] = defaultdict(list)
    for key in keys:
        path = store.run_folder(key.id) / "milestones.json"
        if key.seed in seeds and path.exists():
            rows = json.loads(path.read_text(encoding="utf-8"))
            scores = [row["scores"].get(metric.name) for row in rows]
            folds[key.seed].append(
                [(r["labels"], math.nan if s is None else s) for r, s in zip(rows, scores, strict=True)]
            )
    out: dict[str, Points] = {}
    for seed, runs in sorted(folds.items()):
        stages = zip(*runs, strict=False)
        out[str(seed)] = tuple(
            (round(float(np.mean([n for n, _ in one]))), float(np.mean([s for _, s in one]))) for one in stages
        )
    return out


def _aim(
    facts: Mapping[str, Any],
    dataset: str,
    metric: Metric,
    tables: Sequence[Table],
    curves: Mapping[str, tuple[str, Mapping[str, Points]]],
) -> Aim:
    """Return the score to reach: the study's own; else one with the most labels, less the margin."""
    own = facts.get("label_target")
    if own is not None:
        return Aim(own, f"{own:g} {metric.title}, set by the study (label_target)")
    margin = facts.get("margin") or metric.margin
    away = -margin if metric.larger_is_better else margin
    full = [r for t in tables if t.dataset == dataset and t.label_fraction == 1 for r in t.recipes]
    best = next((r.estimate.mean for r in full if r.name == facts["baseline"]), None)
    if best is not None:
        said = f"{facts['baseline']} with all labels ({best:.3f} {metric.title}), less the margin {margin:g}"
        return Aim(best + away, said)
    blind = [name for name, (asks, _) in curves.items() if asks == "random"]
    name = facts["baseline"] if facts["baseline"] in curves else (blind or list(curves))[0]
    last = float(np.mean([points[-1][1] for points in curves[name][1].values()]))
    return Aim(
        last + away, f"{name} with the most labels it had ({last:.3f} {metric.title}), less the margin {margin:g}"
    )


def _need(
    cell: tuple[str, float],
    aim: Aim,
    curves: Mapping[str, Mapping[str, Points]],
    asking: Mapping[str, str],
    metric: Metric,
) -> LabelNeed:
    better = metric.larger_is_better
    reached = {
        name: {s: steps_to_threshold(points, aim.target, larger_is_better=better) for s, points in own.items()}
        for name, own in curves.items()
    }
    references = [n for kind in REFERENCES for n in curves if asking[n] == kind]
    return LabelNeed(
        dataset=cell[0],
        label_fraction=cell[1],
        target=aim.target,
        rule=aim.rule,
        curves=tuple(_curve(name, own, metric) for name, own in curves.items()),
        needs=tuple(_one(name, asking[name], own) for name, own in reached.items()),
        savings=tuple(
            saving(own, reached[other], recipe=name, against=other)
            for name, own in reached.items()
            for other in references
            if other != name and not (name in references and references.index(name) < references.index(other))
        ),
    )


def _one(name: str, acquisition: str, reached: Mapping[str, Reached]) -> Need:
    median = median_steps(list(reached.values()))
    return Need(
        recipe=name,
        acquisition=acquisition,
        labels=median.steps,
        at_least=median.at_least,
        by_seed={seed: one.step for seed, one in reached.items()},
        last=max(one.last for one in reached.values()),
    )


def _curve(name: str, own: Mapping[str, Points], metric: Metric) -> LearningCurve:
    """Average over seeds, where every seed has a value; intervals end where the metric does."""
    stages = list(zip(*own.values(), strict=False))
    known = [one for one in stages if all(math.isfinite(score) for _, score in one)]
    mean = [float(np.mean([score for _, score in one])) for one in known]
    ends = [mean_interval(np.array([score for _, score in one])) if len(one) > 1 else None for one in known]
    return LearningCurve(
        recipe=name,
        x=tuple(float(np.mean([labels for labels, _ in one])) for one in known),
        mean=tuple(mean),
        low=tuple(m if e is None else max(e.low, metric.low) for m, e in zip(mean, ends, strict=True)),
        high=tuple(m if e is None else min(e.high, metric.high) for m, e in zip(mean, ends, strict=True)),
        by_seed={seed: tuple(one[i][1] for one in known) for i, seed in enumerate(own)},
    )
