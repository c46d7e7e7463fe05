"""Late fusion: finished runs of several recipes made one prediction, judged against each of its members.

Idea      Networks that began from other sources err in other cases; the mean of what they say errs in fewer.
Paper     Ghosal, Shah. 2020. arXiv:2011.05791
Formula   classes: p = 1/M sum_m p_m;  masks: the class that most of the M label maps give an element
Differs   1. Runs of the same fold and seed are fused, so that a fusion has as many repeats as its members, and sees
          the same test cases.   2. Masks: kept label maps vote, since probabilities of elements are not kept; a tie
          goes to a structure, so two members give the union of their masks. Take three or more.
          3. Probabilities are averaged as they are, not at fitted temperatures (`allograft predict` does that).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from allograft.core.atomic import write_text
from allograft.core.config import canonical_json
from allograft.core.errors import ConfigError, ResumeError, did_you_mean
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.fusion import mean_of, vote
from allograft.data.predictions import Predictions
from allograft.infer.score_masks import own_truth, scored, table_of
from allograft.metrics import METRICS
from allograft.metrics.metric import Metric
from allograft.metrics.segmentation import MASK_METRICS
from allograft.study.cells import cells_of, whole_seeds
from allograft.study.compared import Fused
from allograft.study.fused import FUSIONS
from allograft.study.judge import Cell, judge_recipes
from allograft.study.judged import estimate_of, pair_of
from allograft.study.label_maps import LABELS, read_labels
from allograft.study.outcome import Done, RunKey
from allograft.study.prepared import Prepared, load_prepared
from allograft.study.store import RunStore

__all__ = ["fuse"]


def fuse(folder: Path, recipes: Sequence[str]) -> tuple[Fused, ...]:
    """Fuse finished runs of several recipes, judge the fusion, and keep what was found with the study.

    Args:
        folder: of a study.
        recipes: at least two of its recipes, in the order that decides ties of masks.

    Returns:
        One for each data set and label fraction where all members have a finished seed.

    Raises:
        ConfigError: fewer than two recipes, a name twice, or one that the study does not have.
        ResumeError: no seed is finished for all members, or label maps were not kept.
    """
    store = RunStore(folder)
    facts = store.study()
    _check(recipes, facts["recipes"])
    keys = [RunKey.model_validate(key) for key in facts["keys"]]
    done = {o.key.id for o in store.outcomes([key.id for key in keys]) if isinstance(o, Done)}
    found = []
    for cell in dict.fromkeys((key.dataset, key.label_fraction) for key in keys):
        here = [k for k in keys if (k.dataset, k.label_fraction) == cell and k.recipe in recipes]
        seeds = whole_seeds(here, recipes, done)
        if {key.recipe for key in here} == set(recipes) and seeds:
            found.append(_fused(store, facts, [key for key in here if key.seed in seeds], recipes))
    if not found:
        msg = (
            f"{folder}: no seed is finished on every fold for all of {', '.join(recipes)}. "
            "Continue the study (allograft study FILE --out DIR), then fuse."
        )
        raise ResumeError(msg)
    name = f"{seed_for('fusion', *recipes):016x}.json"
    write_text(folder / FUSIONS / name, canonical_json([one.model_dump(mode="json") for one in found]))
    return tuple(found)


def _check(recipes: Sequence[str], known: Mapping[str, Any]) -> None:
    if len(recipes) < 2 or len(set(recipes)) < len(recipes):
        msg = f"a fusion is of at least two different recipes, got {', '.join(recipes) or 'none'}."
        raise ConfigError(msg)
    for name in recipes:
        if name not in known:
            msg = f'this study has no recipe "{name}". {did_you_mean(name, known)}'
            raise ConfigError(msg)


def _fused(store: RunStore, facts: Mapping[str, Any], keys: Sequence[RunKey], recipes: Sequence[str]) -> Fused:
    """Fuse one data set at one label fraction and judge it."""
    data, metric = facts["data"][keys[0].dataset], METRICS[facts["metric"]]
    task = Task.model_validate(data["task"])
    members = sorted(cells_of(store, keys, task), key=lambda cell: recipes.index(cell.recipe))
    name = " + ".join(recipes)
    masks = _Masks(store, keys, recipes) if task.kind == "segmentation" else None
    cells = list(members)
    for seed in sorted({key.seed for key in keys}):
        mine = [cell for cell in members if cell.seed == seed]
        numbers = sorted({key.fold for key in keys})
        folds = [
            mean_of([cell.folds[i] for cell in mine]) if masks is None else masks.fold(mine[0].folds[i], seed, fold)
            for i, fold in enumerate(numbers)
        ]
        cells.append(Cell(name, seed, tuple(folds)))
    return _judged(cells, keys, metric, facts, name)


def _judged(
    cells: Sequence[Cell], keys: Sequence[RunKey], metric: Metric, facts: Mapping[str, Any], name: str
) -> Fused:
    """Compare the fusion with each of its members on the same units."""
    unit = facts["data"][keys[0].dataset]["unit"]
    found = judge_recipes(cells, metric, unit=unit, margin=facts["margin"])
    pairs = [pair_of(one, cells, metric) for one in found.comparisons if name in {one.a, one.b}]
    groups = cells[0].joined().groups
    members = tuple(dict.fromkeys(cell.recipe for cell in cells if cell.recipe != name))
    return Fused(
        name=name,
        rule="majority of masks" if cells[0].folds[0].masks is not None else "mean of probabilities",
        dataset=keys[0].dataset,
        label_fraction=keys[0].label_fraction,
        runs=tuple(sorted(key.id for key in keys)),
        seeds=len({key.seed for key in keys}),
        unit=unit,
        n_units=len(set(groups)),
        estimate=estimate_of(found, name),
        members={member: estimate_of(found, member) for member in members},
        pairs=tuple(pairs),
    )


class _Masks:
    """Fuses kept label maps and scores them on each mask's own grid, as the members were."""

    def __init__(self, store: RunStore, keys: Sequence[RunKey], recipes: Sequence[str]) -> None:
        self.store, self.recipes = store, recipes
        self.run = {(key.recipe, key.seed, key.fold): key.id for key in keys}
        self.prepared: Prepared = load_prepared(store.folder)
        self.dataset = keys[0].dataset
        names = self.prepared.pseudonyms(self.dataset)
        self.case = {names[case.id]: case for case in self.prepared.cohorts[self.dataset]}

    def fold(self, like: Predictions, seed: int, fold: int) -> Predictions:
        """Return the fusion's scores of the cases of `like`, in its order."""
        task, images = self.prepared.cohorts[self.dataset].task, self.prepared.stores[self.dataset]
        metrics = [metric() for metric in MASK_METRICS.values()]
        rows = []
        for name in like.ids:
            maps = [self._map(recipe, seed, fold, name) for recipe in self.recipes]
            truth = own_truth(self.case[name], task.head, images)
            rows.append(None if truth is None else scored(vote(maps), *truth, task, metrics))
        return Predictions.of_masks(task, like.ids, like.groups, table_of(rows, task, metrics))

    def _map(self, recipe: str, seed: int, fold: int, case: str) -> Any:
        return read_labels(self.store.run_folder(self.run[recipe, seed, fold]) / LABELS / f"{case}.npz")
