"""Summarise a study's folder: everything a report shows, from what is finished. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from allograft.core.task import Task
from allograft.metrics import METRICS, metrics_for
from allograft.metrics.metric import Metric
from allograft.stats.across_seeds import paired_seeds
from allograft.stats.verdict import Comparison
from allograft.study.curves import efficiency_curves, layer_table, similarity, validation_curves
from allograft.study.frames import from_frame
from allograft.study.headline import headline
from allograft.study.judge import Arena, Cell, compare_all
from allograft.study.outcome import Done, Failed, RunKey
from allograft.study.store import RunStore
from allograft.study.summary import Pair, Ranked, RunRow, Summary, Table

__all__ = ["summarise"]


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
    tables.sort(key=lambda t: -t.label_fraction)
    return Summary(
        study=facts["study"],
        metric=metric.name,
        metric_title=metric.title,
        larger_is_better=metric.larger_is_better,
        baseline=facts["baseline"],
        headline=headline(tables, facts["baseline"], metric.title),
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
    where = f"{keys[0].dataset}, {keys[0].label_fraction:.0%} of the labels"
    said = _left_out(where, keys, facts["recipes"], recipes, seeds)
    if not recipes or not seeds:
        return None, said
    used = [k for k in keys if k.recipe in recipes and k.seed in seeds]
    task = Task.model_validate(data["task"])
    cells = [
        Cell(name, seed, tuple(_test(store, k, task) for k in used if (k.recipe, k.seed) == (name, seed)))
        for name in recipes
        for seed in seeds
    ]
    margin = facts["margin"] or metric.margin
    arenas = {name: Arena(cells, m, data["unit"]) for name, m in metrics_for(task.kind).items()}
    arena = arenas[metric.name]
    curves, losses, steps = validation_curves(store, used, facts["threshold_share"], facts["baseline"])
    ranked = [
        _ranked(name, arenas, metric, [k for k in used if k.recipe == name], done, facts, steps) for name in recipes
    ]
    sign = -1.0 if metric.larger_is_better else 1.0
    return Table(
        dataset=keys[0].dataset,
        label_fraction=keys[0].label_fraction,
        unit=data["unit"],
        n_units=arena.n_units,
        n_cases=len(arena.groups),
        classes=task.classes,
        recipes=tuple(sorted(ranked, key=lambda r: sign * (r.estimate.mean if r.estimate.mean is not None else 0))),
        pairs=tuple(_pair(c, arena) for c in compare_all(arena, margin)),
        validation_curves=curves,
        loss_curves=losses,
        layers=layer_table(store, used),
        similarity=similarity(store, used)[0],
        similarity_baseline=similarity(store, used)[1],
        notes=tuple(data["notes"]),
    ), said


def _whole_seeds(keys: Sequence[RunKey], recipes: Sequence[str], done: Mapping[str, Done]) -> list[int]:
    """Return the seeds that every recipe has finished on every fold."""
    missing = {key.seed for key in keys if key.recipe in recipes and key.id not in done}
    return sorted({key.seed for key in keys} - missing)


def _left_out(
    where: str, keys: Sequence[RunKey], planned: Sequence[str], recipes: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """Say what is not compared."""
    said = []
    if absent := [name for name in planned if name not in recipes]:
        said.append(f"{where}: no finished run of {', '.join(absent)}.")
    every = sorted({key.seed for key in keys})
    if recipes and len(seeds) < len(every):
        left = [seed for seed in every if seed not in seeds]
        said.append(f"{where}: seeds {left} are unfinished for some recipe and left out for all: repeats are equal.")
    return said


def _test(store: RunStore, key: RunKey, task: Task) -> Any:
    return from_frame(store.predictions(key.id), task)


def _ranked(
    name: str,
    arenas: Mapping[str, Arena],
    metric: Metric,
    keys: Sequence[RunKey],
    done: Mapping[str, Done],
    facts: Mapping[str, Any],
    steps: Mapping[str, tuple[float | None, float]],
) -> Ranked:
    """Return one recipe's row."""
    arena = arenas[metric.name]
    outcomes = [done[key.id] for key in keys]
    coverage = {k: float(np.mean([o.coverage[k] for o in outcomes])) for k in outcomes[0].coverage}
    words = facts["recipes"][name]
    return Ranked(
        name=name,
        estimate=arena.estimate(name),
        by_metric={m: a.estimate(name) for m, a in arenas.items()},
        by_class=_by_class(arena, name),
        by_seed={str(seed): value for seed, value in arena.seed_values(name).items() if np.isfinite(value)},
        lrs=tuple(o.lr for o in outcomes),
        runs=len(outcomes),
        seconds=float(np.mean([sum(o.seconds.values()) for o in outcomes])),
        coverage=coverage,
        steps_to_threshold=steps.get(name, (None, 0.0))[0],
        reached=steps.get(name, (None, 0.0))[1],
        **words,
    )


def _by_class(arena: Arena, recipe: str) -> dict[str, dict[str, float]]:
    """Return recall and one-vs-rest AUROC of each class, averaged over seeds and folds."""
    out: dict[str, dict[str, float]] = {}
    folds = [fold for cell in arena.by_recipe[recipe] for fold in cell.folds]
    for name in ("balanced_accuracy", "auroc"):
        if folds[0].task.kind not in METRICS[name].kinds:
            continue
        rows = [METRICS[name].per_class(fold) for fold in folds]
        out[name] = {
            c: float(np.nanmean([r[c] for r in rows])) for c in rows[0] if any(np.isfinite(r[c]) for r in rows)
        }
    return out


def _pair(c: Comparison, arena: Arena) -> Pair:
    """Return a comparison as the summary keeps it, with the test over seeds beside it."""
    row = c.as_row()
    a, b = (list(arena.seed_values(name).values()) for name in (c.a, c.b))
    over_seeds = paired_seeds(np.array(a), np.array(b)).p if len(a) > 1 else float("nan")
    fields = ("a", "b", "difference", "test", "unit", "n_units", "p", "p_adjusted", "verdict", "margin", "sentence")
    ci = row["ci"]
    return Pair(
        **{name: row[name] for name in fields},
        ci=None if None in ci else tuple(ci),
        p_seeds=over_seeds if np.isfinite(over_seeds) else None,
        units_needed=row["units_needed"],
    )


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
