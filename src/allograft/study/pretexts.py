"""Pretexts: the logs of stages that read no labels, averaged over runs and judged. No torch.

A task counts as learnt where its measure on held-out images is above chance, and above what it was before the first
step, by 95 % t intervals over test folds (their seeds and shares of the labels averaged). Folds hold out other images
but share most of what they train on, so the intervals are somewhat too narrow; below `FEWEST` folds nothing is claimed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from allograft.stats.intervals import t_interval
from allograft.study.compared import Estimate
from allograft.study.outcome import RunKey
from allograft.study.pretext_stage import COLLAPSED, PICTURES, Line, PretextStage, Told
from allograft.study.pretext_words import sentences
from allograft.study.store import RunStore

__all__ = ["one_pretext", "read_pretexts"]

FEWEST = 3
"""Folds from which on there is an interval (ours)."""
HELD = "held_out_"
GUESSES = ("unrestored", "mean_guess")
"""What restorations log beside their loss: the losses of trivial guesses; the best one counts."""

Measure = Literal["accuracy", "restored", "retrieval", ""]
Rows = Mapping[float, Mapping[str, float]]


class _Name(NamedTuple):
    """Which stage."""

    dataset: str
    recipe: str
    stage: str
    task: str


class _Run(NamedTuple):
    """One run: its fold, and by step what was seen."""

    fold: int
    rows: Rows


def read_pretexts(store: RunStore, keys: Sequence[RunKey]) -> tuple[PretextStage, ...]:
    """Return the stages that were watched on held-out images, by data set and recipe in the order of `keys`."""
    found: dict[tuple[str, str, str], list[tuple[RunKey, Mapping[str, Any]]]] = defaultdict(list)
    for key in keys:
        for stage in json.loads((store.run_folder(key.id) / "stages.json").read_text(encoding="utf-8")):
            if _rows(stage):
                found[key.dataset, key.recipe, stage["stage"]].append((key, stage))
    made = []
    for (dataset, recipe, stage), runs in found.items():
        order = sorted(runs, key=lambda run: (run[0].fold, run[0].seed, -run[0].label_fraction))
        files = (store.run_folder(key.id) / PICTURES for key, _ in order)
        named = _Name(dataset, recipe, stage, str(order[0][1].get("objective", "")))
        each = [_Run(key.fold, _rows(one)) for key, one in order]
        made.append(_judged(named, each, next((path for path in files if path.exists()), None)))
    return tuple(made)


def one_pretext(
    record: Mapping[str, Any], *, dataset: str, recipe: str, pictures: Path | None = None
) -> PretextStage | None:
    """Return a single stage, judged by nothing but itself; None where its log has no held-out images.

    Args:
        record: as `StageRecord` writes it.
        dataset: name of what it read.
        recipe: what to call it.
        pictures: the file that `draw_pretext` wrote, where there is one.
    """
    rows = _rows(record)
    named = _Name(dataset, recipe, str(record["stage"]), str(record.get("objective", "")))
    return _judged(named, [_Run(0, rows)], pictures if pictures and pictures.exists() else None) if rows else None


def _rows(stage: Mapping[str, Any]) -> Rows:
    """Return by step what was seen of held-out images, from before the first step on; empty for other stages."""
    rows = [(float(row["step"]), row["validation"]) for row in stage["history"]["rows"]]
    if not rows or not any(name.startswith(HELD) for name in rows[-1][1]):
        return {}
    began = stage.get("began") or {}
    return {step: _with_guess(seen) for step, seen in [*([(0.0, began)] if began else []), *rows]}


def _with_guess(seen: Mapping[str, float]) -> Mapping[str, float]:
    """Return the numbers; of a restoration also the best trivial guess's loss, and the share of it that is saved."""
    guess = min((seen[HELD + name] for name in GUESSES if HELD + name in seen), default=0.0)
    if guess <= 0:
        return seen
    return {**seen, "guess": guess, "restored": 1 - seen[f"{HELD}loss"] / guess}


def _judged(named: _Name, runs: Sequence[_Run], pictures: Path | None) -> PretextStage:
    last = [run.rows[max(run.rows)] for run in runs]
    measure = _measure(last[0])
    above = [_above(seen, measure) for seen in last]
    began = [_above(run.rows.get(0.0, {}), measure) for run in runs]
    folds = [run.fold for run in runs]
    score = _over_folds(folds, above)
    gain = _over_folds(folds, [None if a is None or b is None else a - b for a, b in zip(above, began, strict=True)])
    spreads = [seen["spread"] for seen in last if "spread" in seen]
    moved = {name: _over_folds(folds, [_moved(run.rows, name) for run in runs]) for name in ("knn", "probe")}
    stage = PretextStage(
        dataset=named.dataset,
        recipe=named.recipe,
        stage=named.stage,
        task=named.task,
        runs=len(runs),
        folds=len(set(folds)),
        lines=_lines([run.rows for run in runs]),
        measure=measure,
        score=score,
        gain=gain,
        told=_told(score, gain),
        collapsed=sum(value < COLLAPSED for value in spreads),
        moved={name: change for name, change in moved.items() if change is not None},
        pictures=pictures,
    )
    return stage.model_copy(update={"sentences": sentences(stage)})


def _measure(seen: Mapping[str, float]) -> Measure:
    """Return what tells whether a task is learnt."""
    if {f"{HELD}accuracy", f"{HELD}chance"} <= set(seen):
        return "accuracy"
    return "restored" if "restored" in seen else "retrieval" if "retrieval" in seen else ""


def _above(seen: Mapping[str, float], measure: Measure) -> float | None:
    """Return the measure less what chance gives, None where it was not seen."""
    names: dict[str, tuple[str, str]] = {
        "accuracy": (f"{HELD}accuracy", f"{HELD}chance"),
        "restored": ("restored", ""),
        "retrieval": ("retrieval", "retrieval_chance"),
    }
    value, chance = names.get(measure, ("", ""))
    return seen[value] - (seen[chance] if chance else 0.0) if value in seen else None


def _told(score: Estimate | None, gain: Estimate | None) -> Told:
    if score is None or score.low is None:
        return "cannot tell"
    if score.low <= 0:
        return "not shown"
    return "learnt" if gain is not None and gain.low is not None and gain.low > 0 else "better than chance"


def _moved(rows: Rows, name: str) -> float | None:
    """Return by how much a number changed from the first look that has it to the last."""
    seen = [row[name] for _, row in sorted(rows.items()) if name in row]
    return seen[-1] - seen[0] if len(seen) > 1 else None


def _over_folds(folds: Sequence[int], values: Sequence[float | None]) -> Estimate | None:
    """Return the mean over folds of their runs' means; None where no run has a value."""
    by_fold: dict[int, list[float]] = defaultdict(list)
    for fold, value in zip(folds, values, strict=True):
        if value is not None:
            by_fold[fold].append(value)
    if not by_fold:
        return None
    means = np.array([np.mean(each) for each in by_fold.values()], dtype=np.float64)
    if len(means) < FEWEST:
        return Estimate(mean=float(means.mean()), n_units=len(means))
    found = t_interval(means)
    return Estimate(mean=float(means.mean()), low=found.low, high=found.high, n_units=len(means), method=found.method)


def _lines(runs: Sequence[Rows]) -> dict[str, Line]:
    """Return every number over the steps at which all runs that have it at the end saw it."""
    found = {}
    for name in dict.fromkeys(name for rows in runs for name in rows[max(rows)]):
        has = [rows for rows in runs if name in rows[max(rows)]]
        steps = sorted(set.intersection(*({step for step, row in rows.items() if name in row} for rows in has)))
        if not steps:
            continue
        values = np.array([[rows[step][name] for step in steps] for rows in has], dtype=np.float64)
        low, high = np.quantile(values, [0.1, 0.9], axis=0)
        found[name] = Line(
            x=tuple(steps),
            mean=tuple(values.mean(axis=0).tolist()),
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
            runs=len(has),
        )
    return found
