"""Summarise a study's folder: everything a report shows, from what is finished. No torch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from allograft.core.task import Task
from allograft.data.mask_scores import MaskScores
from allograft.data.predictions import Predictions
from allograft.metrics import METRICS, metrics_for
from allograft.metrics.judgement import Judgement
from allograft.metrics.metric import Metric
from allograft.study.collapsed import collapse_warnings
from allograft.study.curves import efficiency_curves, layer_table, similarity, validation_curves
from allograft.study.examples import examples
from allograft.study.frames import from_frame
from allograft.study.headline import headline
from allograft.study.judge import Cell, judge_recipes, seed_values
from allograft.study.judged import estimate_of, pair_of
from allograft.study.outcome import Done, Failed, RunKey
from allograft.study.store import RunStore
from allograft.study.summary import Ranked, RunRow, Summary, Table
from allograft.study.unseen import judge_unseen

__all__ = ["summarise"]

BY_CLASS = ("balanced_accuracy", "auroc", "dice", "surface_dice", "hd95", "assd")
"""Metrics that are also shown class by class, where they fit the task."""


def summarise(folder: Path) -> Summary:
    """Read a study's folder and judge its recipes.

    Only seeds that every recipe has finished on every fold are compared, so that all arms have equal
    repeats; what is left out is said.

    Raises:
        ResumeError: the folder holds no study.
    """
    store = RunStore(folder)
    facts = store.study()
    keys = [RunKey.model_validate(key) for key in facts["keys"]]
    ended = {o.key.id: o for o in store.outcomes([key.id for key in keys])}
    done = {name: o for name, o in ended.items() if isinstance(o, Done)}
    metric = METRICS[facts["metric"]]
    tables, warnings = [], list(facts["warnings"])
    for cell in dict.fromkeys((key.dataset, key.label_fraction) for key in keys):
        here = [key for key in keys if (key.dataset, key.label_fraction) == cell]
        table, said = _table(store, facts, here, done, metric)
        warnings += said
        tables += [] if table is None else [table]
    warnings += collapse_warnings(done.values())
    tables.sort(key=lambda t: -t.label_fraction)
    return Summary(
        study=facts["study"],
        metric=metric.name,
        metric_title=metric.title,
        larger_is_better=metric.larger_is_better,
        baseline=facts["baseline"],
        headline=headline(tables, facts["baseline"], metric.title, larger_is_better=metric.larger_is_better),
        tables=tuple(tables),
        efficiency=efficiency_curves(tables),
        runs=tuple(_row(o, metric.name) for o in done.values()),
        failures=tuple(o for o in ended.values() if isinstance(o, Failed)),
        planned=len(keys),
        data_cards=tuple(facts["data_cards"]),
        weight_cards=tuple(facts["weight_cards"]),
        plans=_plans(store, keys, done),
        environment=facts["environment"],
        commands=tuple(facts["commands"]),
        threshold=f"{facts['threshold_share']:.0%} of the baseline's best validation score",
        warnings=tuple(warnings),
    )


def _table(
    store: RunStore, facts: Mapping[str, Any], keys: Sequence[RunKey], done: Mapping[str, Done], metric: Metric
) -> tuple[Table | None, list[str]]:
    """Judge one data set at one label fraction; None where nothing can be compared yet."""
    data = facts["data"][keys[0].dataset]
    recipes = [name for name in facts["recipes"] if any(k.recipe == name and k.id in done for k in keys)]
    seeds = _whole_seeds(keys, recipes, done)
    said = _left_out(keys, facts["recipes"], recipes, seeds)
    if not recipes or not seeds:
        return None, said
    used = [k for k in keys if k.recipe in recipes and k.seed in seeds]
    task = Task.model_validate(data["task"])
    cells = _cells(store, used, task)
    judged = _judged(cells, metric, task.kind, data["unit"], facts["margin"])
    curves = validation_curves(store, used, facts["threshold_share"], facts["baseline"])
    found = [
        _ranked(Row(name, cells, metric, judged), [done[k.id] for k in used if k.recipe == name], facts, curves.steps)
        for name in recipes
    ]
    ranked = _best_first(found, metric)
    between, baseline = similarity(store, used)
    units = cells[0].joined().groups
    return Table(
        dataset=keys[0].dataset,
        label_fraction=keys[0].label_fraction,
        unit=data["unit"],
        n_units=len(set(units)),
        n_cases=len(units),
        classes=task.classes,
        recipes=tuple(ranked),
        pairs=tuple(pair_of(c, cells, metric) for c in judged[metric.name].comparisons),
        validation_curves=curves.scores,
        loss_curves=curves.losses,
        layers=layer_table(store, used),
        similarity=between,
        similarity_baseline=baseline,
        notes=tuple(data["notes"]),
        unseen=tuple(judge_unseen(store, used, facts, metric, name) for name in facts.get("unseen", ())),
        **data.get("units_of_size", {}),
        examples=examples(store, used, cells, _beside(ranked, facts["baseline"]), metric),
    ), said


def _best_first(ranked: Sequence[Ranked], metric: Metric) -> list[Ranked]:
    """Return the recipes by their mean; those without a value come last."""
    best = -1.0 if metric.larger_is_better else 1.0
    return sorted(ranked, key=lambda r: (r.estimate.mean is None, best * (r.estimate.mean or 0)))


def _beside(ranked: Sequence[Ranked], baseline: str) -> list[str]:
    """Return the recipe that leads and the baseline, or the second recipe where the baseline leads."""
    lead, *others = [r.name for r in ranked]
    return [lead, *([baseline] if baseline in others else others[:1])]


def _judged(cells: Sequence[Cell], metric: Metric, kind: str, unit: str, margin: float | None) -> dict[str, Judgement]:
    """Estimate every metric; compare recipes by the primary one. A run may be older than a mask metric."""
    masks = [fold.masks for cell in cells for fold in cell.folds if fold.masks is not None]
    return {
        name: judge_recipes(cells, each, unit=unit, margin=margin, pairs=name == metric.name)
        for name, each in metrics_for(kind).items()
        if all(name in found.values for found in masks)
    }


def _cells(store: RunStore, keys: Sequence[RunKey], task: Task) -> list[Cell]:
    """Return recipe by seed, each with its folds in order."""
    folds: dict[tuple[str, int], list[Predictions]] = defaultdict(list)
    for key in sorted(keys, key=lambda key: key.fold):
        folds[key.recipe, key.seed].append(from_frame(store.predictions(key.id), task))
    return [Cell(recipe, seed, tuple(found)) for (recipe, seed), found in folds.items()]


def _whole_seeds(keys: Sequence[RunKey], recipes: Sequence[str], done: Mapping[str, Done]) -> list[int]:
    """Return the seeds that every recipe has finished on every fold."""
    missing = {key.seed for key in keys if key.recipe in recipes and key.id not in done}
    return sorted({key.seed for key in keys} - missing)


def _left_out(
    keys: Sequence[RunKey], planned: Sequence[str], recipes: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """Say what is not compared."""
    where = f"{keys[0].dataset}, {keys[0].label_fraction:.0%} of the labels"
    said = []
    if absent := [name for name in planned if name not in recipes]:
        said.append(f"{where}: no finished run of {', '.join(absent)}.")
    every = sorted({key.seed for key in keys})
    if recipes and len(seeds) < len(every):
        left = [seed for seed in every if seed not in seeds]
        said.append(f"{where}: seeds {left} are unfinished for some recipe and left out for all: repeats are equal.")
    return said


class Row(NamedTuple):
    """What a recipe's row is made of."""

    name: str
    cells: Sequence[Cell]
    metric: Metric
    judged: Mapping[str, Judgement]


def _ranked(
    row: Row, outcomes: Sequence[Done], facts: Mapping[str, Any], steps: Mapping[str, tuple[float | None, float]]
) -> Ranked:
    """Return one recipe's row."""
    by_metric = {name: estimate_of(found, row.name) for name, found in row.judged.items()}
    seeds = seed_values(row.cells, row.metric, row.name)
    median, reached = steps.get(row.name, (None, 0.0))
    return Ranked(
        name=row.name,
        estimate=by_metric[row.metric.name],
        by_metric=by_metric,
        by_class=_by_class(row),
        outcomes=_outcomes(row),
        by_seed={str(seed): value for seed, value in seeds.items() if np.isfinite(value)},
        lrs=tuple(o.lr for o in outcomes),
        runs=len(outcomes),
        seconds=float(np.mean([sum(o.seconds.values()) for o in outcomes])),
        coverage={k: float(np.mean([o.coverage[k] for o in outcomes])) for k in outcomes[0].coverage},
        steps_to_threshold=median,
        reached=reached,
        **facts["recipes"][row.name],
    )


def _by_class(row: Row) -> dict[str, dict[str, float]]:
    """Return recall and one-vs-rest AUROC of each class, or what masks score, averaged over seeds and folds."""
    out: dict[str, dict[str, float]] = {}
    folds = [fold for cell in row.cells if cell.recipe == row.name for fold in cell.folds]
    for name in BY_CLASS:
        if folds[0].task.kind not in METRICS[name].kinds:
            continue
        if any(fold.masks is not None and name not in fold.masks.values for fold in folds):
            continue
        found = [METRICS[name].per_class(fold) for fold in folds]
        known = {c: [r[c] for r in found if np.isfinite(r[c])] for c in found[0]}
        out[name] = {c: float(np.mean(values)) for c, values in known.items() if values}
    return out


def _outcomes(row: Row) -> dict[str, dict[str, int]]:
    """Return by class how often it was there, missed and falsely alarmed, over all runs; empty but for masks."""
    masks = [fold.masks for cell in row.cells if cell.recipe == row.name for fold in cell.folds]
    known = [found for found in masks if found is not None]
    return MaskScores.join(known).outcomes() if known else {}


def _row(o: Done, metric: str) -> RunRow:
    return RunRow(
        key=o.key, lr=o.lr, score=o.scores.get(metric), seconds=sum(o.seconds.values()), peak_memory_mb=o.peak_memory_mb
    )


def _plans(store: RunStore, keys: Sequence[RunKey], done: Mapping[str, Done]) -> dict[str, Mapping[str, Any]]:
    """Return the plan's table of the first finished run of each recipe."""
    found: dict[str, Mapping[str, Any]] = {}
    for key in keys:
        if key.id in done and key.recipe not in found:
            path = store.run_folder(key.id) / "plan-table.json"
            found[key.recipe] = json.loads(path.read_text(encoding="utf-8"))
    return found
