"""Summarise a study's folder: everything a report shows, from what is finished. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from allograft.core.task import Task
from allograft.data.mask_scores import MaskScores
from allograft.metrics import METRICS, metrics_for
from allograft.metrics.judgement import Judgement
from allograft.metrics.metric import Metric
from allograft.study.cells import cells_of, whole_seeds
from allograft.study.chain import read_chains, read_plan
from allograft.study.collapsed import collapse_warnings
from allograft.study.curves import efficiency_curves, layer_table, similarity, validation_curves
from allograft.study.examples import examples
from allograft.study.fused import with_kept
from allograft.study.headline import headline, pruned_words
from allograft.study.judge import Cell, judge_recipes, seed_values
from allograft.study.judged import estimate_of, pair_of
from allograft.study.label_needs import label_needs, more_labels
from allograft.study.left_out import judge_left_out
from allograft.study.outcome import Done, Failed, RunKey, Waiting
from allograft.study.pretexts import read_pretexts
from allograft.study.rounds import read_rounds
from allograft.study.shifted import Judged, judge_shift
from allograft.study.store import RunStore
from allograft.study.summary import Pruned, Ranked, RunRow, Summary, Table
from allograft.study.tested_images import tested_warnings
from allograft.study.unseen import judge_unseen

__all__ = ["summarise"]

Ended = Done | Failed | Waiting

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
    finished = [key for key in keys if key.id in done]
    metric = METRICS[facts["metric"]]
    pruned = tuple(Pruned.model_validate(one) for one in facts.get("pruned", ()))
    tables, said = _tables(store, facts, keys, done, metric)
    warnings = [*facts["warnings"], *said, *collapse_warnings(done.values()), *tested_warnings(done.values())]
    return Summary(
        study=facts["study"],
        metric=metric.name,
        metric_title=metric.title,
        larger_is_better=metric.larger_is_better,
        baseline=facts["baseline"],
        headline=headline(tables, facts["baseline"], metric.title, larger_is_better=metric.larger_is_better)
        + pruned_words(pruned),
        tables=tuple(tables),
        left_out=judge_left_out(tables, facts, metric),
        efficiency=efficiency_curves(tables),
        runs=tuple(_row(o, metric.name) for o in done.values()),
        **_unfinished(ended.values()),
        label_needs=(needs := label_needs(store, facts, finished, metric, tables)),
        pretexts=read_pretexts(store, finished),
        planned=len(keys),
        pruned=pruned,
        **{name: tuple(facts[name]) for name in ("data_cards", "weight_cards", "commands")},
        plans=_plans(store, finished),
        chains=read_chains(store, finished),
        environment=facts["environment"],
        threshold=f"{facts['threshold_share']:.0%} of the baseline's best validation score",
        warnings=(*warnings, *more_labels(needs)),
    )


def _unfinished(ended: Iterable[Ended]) -> dict[str, Any]:
    """Return the runs that failed and those that wait for labels."""
    every = list(ended)
    failed = tuple(o for o in every if isinstance(o, Failed))
    return {"failures": failed, "waiting": tuple(o for o in every if isinstance(o, Waiting))}


def _tables(
    store: RunStore, facts: Mapping[str, Any], keys: Sequence[RunKey], done: Mapping[str, Done], metric: Metric
) -> tuple[list[Table], list[str]]:
    """Judge every data set at every label fraction, most labels first, and say what was left out."""
    tables, warnings = list[Table](), list[str]()
    for cell in dict.fromkeys((key.dataset, key.label_fraction) for key in keys):
        here = [key for key in keys if (key.dataset, key.label_fraction) == cell]
        table, said = with_kept(_table(store, facts, here, done, metric), store, [k for k in here if k.id in done])
        warnings += said
        tables += [] if table is None else [table]
    return sorted(tables, key=lambda t: -t.label_fraction), warnings


def _table(
    store: RunStore, facts: Mapping[str, Any], keys: Sequence[RunKey], done: Mapping[str, Done], metric: Metric
) -> tuple[Table | None, list[str]]:
    """Judge one data set at one label fraction; None where nothing can be compared yet."""
    data = facts["data"][keys[0].dataset]
    recipes = [name for name in facts["recipes"] if any(k.recipe == name and k.id in done for k in keys)]
    seeds = whole_seeds(keys, recipes, done)
    said = _left_out(keys, facts["recipes"], recipes, seeds)
    if not recipes or not seeds:
        return None, said
    used = [k for k in keys if k.recipe in recipes and k.seed in seeds]
    task = Task.model_validate(data["task"])
    cells = cells_of(store, used, task)
    judged = _judged(cells, metric, task.kind, data["unit"], facts["margin"])
    curves = validation_curves(store, used, facts["threshold_share"], facts["baseline"])
    found = [
        _ranked(Row(name, cells, metric, judged), [done[k.id] for k in used if k.recipe == name], facts, curves.steps)
        for name in recipes
    ]
    ranked = _best_first(found, metric)
    between, baseline = similarity(store, used)
    pairs = tuple(pair_of(c, cells, metric) for c in judged[metric.name].comparisons)
    return Table(
        dataset=keys[0].dataset,
        label_fraction=keys[0].label_fraction,
        **_about(cells, task, data),
        recipes=tuple(ranked),
        pairs=pairs,
        validation_curves=curves.scores,
        loss_curves=curves.losses,
        layers=layer_table(store, used),
        similarity=between,
        similarity_baseline=baseline,
        unseen=tuple(judge_unseen(store, used, facts, metric, name) for name in facts.get("unseen", ())),
        examples=examples(store, used, cells, _beside(ranked, facts["baseline"]), metric),
        rounds=read_rounds(store, used, task.classes),
        shift=judge_shift(store, used, facts, Judged(cells, metric, judged[metric.name], pairs)),
    ), said


def _about(cells: Sequence[Cell], task: Task, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table says of its test cases."""
    units = cells[0].joined().groups
    counts = {"unit": data["unit"], "n_units": len(set(units)), "n_cases": len(units)}
    return {**counts, "classes": task.classes, "notes": tuple(data["notes"]), **data.get("units_of_size", {})}


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


def _left_out(
    keys: Sequence[RunKey], planned: Sequence[str], recipes: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """Say what is not compared."""
    where = f"{keys[0].dataset}, {keys[0].label_fraction:.0%} of the labels"
    said = []
    asked = {key.recipe for key in keys}  # what was pruned is said elsewhere
    if absent := [name for name in planned if name in asked and name not in recipes]:
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


def _plans(store: RunStore, keys: Sequence[RunKey]) -> dict[str, Mapping[str, Any]]:
    """Return the last plan's table of the first run of each recipe."""
    first = {key.recipe: key for key in reversed(keys)}
    found = {name: read_plan(store, first[name]) for name in dict.fromkeys(key.recipe for key in keys)}
    return {name: {key: v for key, v in plan.items() if key != "stages"} for name, plan in found.items()}
