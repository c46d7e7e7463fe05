"""Curves: validation and loss over steps, label efficiency, change of layers. No torch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from allograft.core.errors import DataError
from allograft.stats.convergence import median_steps, steps_to_threshold
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore
from allograft.study.summary import Curve, Layer, Table

__all__ = ["efficiency_curves", "layer_table", "similarity", "validation_curves"]

Steps = dict[str, tuple[float | None, float]]


class Curves(NamedTuple):
    """Validation scores, training losses, and by recipe (median steps to threshold, share reached)."""

    scores: tuple[Curve, ...]
    losses: tuple[Curve, ...]
    steps: Steps


def validation_curves(store: RunStore, keys: Sequence[RunKey], share: float, baseline: str) -> Curves:
    """Return validation curves, training-loss curves, and by recipe (median steps to threshold, share reached).

    Bands are the middle 80 % of runs. The threshold is `share` of the median best validation score of
    the baseline (of the first recipe where the baseline has no runs); where scores are negative
    (losses) it is the best score divided by `share`. A run that never reaches it is censored. Of several
    stages it is the last that validation judged: one that reads no labels has no score. A recipe that is
    solved without steps has no curve.
    """
    rows: dict[str, list[list[dict[str, Any]]]] = defaultdict(list)
    for key in keys:
        stages = json.loads((store.run_folder(key.id) / "stages.json").read_text(encoding="utf-8"))
        if run := _judged(stages):  # what is solved at once has no steps
            rows[key.recipe].append(run)
    if not rows:
        return Curves((), (), {})
    score = {
        name: [[(r["step"], r["validation"]["score"]) for r in run] for run in runs] for name, runs in rows.items()
    }
    loss = {name: [[(r["step"], _loss(r["train"])) for r in run] for run in runs] for name, runs in rows.items()}
    best = float(np.median([max(v for _, v in run) for run in score.get(baseline) or next(iter(score.values()))]))
    threshold = best * share if best >= 0 else best / share
    steps: Steps = {}
    for name, runs in score.items():
        found = median_steps([steps_to_threshold(run, threshold) for run in runs])
        steps[name] = (found.steps, found.reached / found.runs)
    return Curves(tuple(_curve(n, r) for n, r in score.items()), tuple(_curve(n, r) for n, r in loss.items()), steps)


def _judged(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the last stage that was validated, of the last one where none was."""
    each: list[list[dict[str, Any]]] = [stage["history"]["rows"] for stage in stages]
    return next((rows for rows in reversed(each) if rows and "score" in rows[-1]["validation"]), each[-1])


def _loss(train: Mapping[str, float]) -> float:
    """Return the loss of a row of history; of several players the first one's."""
    return next(value for name, value in train.items() if name.rpartition(".")[2] == "loss")


def _curve(name: str, runs: Sequence[Sequence[tuple[int, float]]]) -> Curve:
    """Average runs at the steps that all of them reached."""
    common = sorted(set.intersection(*({step for step, _ in run} for run in runs)))
    values = np.array([[dict(run)[step] for step in common] for run in runs], dtype=np.float64)
    low, high = np.quantile(values, [0.1, 0.9], axis=0)
    mean = values.mean(axis=0)
    return Curve(
        recipe=name,
        x=tuple(map(float, common)),
        mean=tuple(mean.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def efficiency_curves(tables: Sequence[Table]) -> dict[str, tuple[Curve, ...]]:
    """Return by data set the metric over label fractions, where there are at least two."""
    out: dict[str, tuple[Curve, ...]] = {}
    for dataset in dict.fromkeys(table.dataset for table in tables):
        here = sorted((t for t in tables if t.dataset == dataset), key=lambda t: t.label_fraction)
        if len(here) > 1:
            out[dataset] = tuple(_efficiency(recipe.name, here) for recipe in here[-1].recipes)
    return out


def _efficiency(name: str, tables: Sequence[Table]) -> Curve:
    points = [(t.label_fraction, r.estimate) for t in tables for r in t.recipes if r.name == name]
    known = [(x, e.mean, e.low, e.high) for x, e in points if e.mean is not None]
    return Curve(
        recipe=name,
        x=tuple(x for x, *_ in known),
        mean=tuple(m for _, m, *_ in known),
        low=tuple(m if low is None else low for _, m, low, _ in known),
        high=tuple(m if high is None else high for _, m, _, high in known),
    )


def layer_table(store: RunStore, keys: Sequence[RunKey]) -> tuple[Layer, ...]:
    """Return change and similarity by recipe and stage, averaged over runs."""
    found: dict[tuple[str, str], list[Mapping[str, float | None]]] = defaultdict(list)
    for key in keys:
        for row in _analysis(store, key).get("stages", []):
            found[key.recipe, row["stage"]].append(row)
    return tuple(
        Layer(
            recipe=recipe,
            stage=stage,
            **{name: _mean([row[name] for row in rows]) for name in ("change", "cka", "cca", "svcca")},
        )
        for (recipe, stage), rows in found.items()
    )


def similarity(store: RunStore, keys: Sequence[RunKey]) -> tuple[dict[str, dict[str, float]], float | None]:
    """Return linear CKA of the deepest features between recipes (same fold and seed), and between seeds.

    The second value is the baseline: two seeds of the same recipe, averaged over recipes.
    """
    from allograft.analysis.cka import linear_cka

    deep: dict[RunKey, Any] = {}
    for key in keys:
        path = store.run_folder(key.id) / "features.npy"
        if path.exists():
            deep[key] = np.load(path, allow_pickle=False).astype(np.float64)
    between: dict[tuple[str, str], list[float]] = defaultdict(list)
    seeds: list[float] = []
    for one, a in deep.items():
        for two, b in deep.items():
            recipes = one.pair == two.pair and one.recipe < two.recipe
            if not recipes and not (one.recipe == two.recipe and one.fold == two.fold and one.seed < two.seed):
                continue
            try:
                value = linear_cka(a, b)
            except DataError:  # features that do not vary: means behind an instance norm
                continue
            (between[one.recipe, two.recipe] if recipes else seeds).append(value)
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for (a_name, b_name), values in between.items():
        table[a_name][b_name] = table[b_name][a_name] = float(np.mean(values))
    return {name: dict(row) for name, row in table.items()}, float(np.mean(seeds)) if seeds else None


def _analysis(store: RunStore, key: RunKey) -> Mapping[str, Any]:
    path = store.run_folder(key.id) / "analysis.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
