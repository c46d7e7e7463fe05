"""Pruning: what a study leaves out before training, with the reason, and what it runs first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.study.estimators import ESTIMATORS
from allograft.study.grid import Study
from allograft.study.outcome import Done, RunKey
from allograft.study.prepared import Prepared
from allograft.study.prune import Prune
from allograft.study.score import score_study
from allograft.study.scores import DataScores, StartScore
from allograft.study.store import RunStore
from allograft.study.summary import Pruned

__all__ = ["Chosen", "choose", "left_out"]


class Chosen(Config):
    """What a study runs after a look at its sources.

    Args:
        pruned: recipes that are not run, by data set, with the reason.
        order: by data set, recipes with the most promising first; empty for the usual order.
        warnings: what a reader of the verdict must know.
    """

    pruned: tuple[Pruned, ...] = ()
    order: Mapping[str, tuple[str, ...]] = {}
    warnings: tuple[str, ...] = ()

    def runs(self, keys: Sequence[RunKey]) -> list[RunKey]:
        """Return the runs that are left, in the order given; within a seed the most promising recipes first."""
        out = {(one.dataset, one.recipe) for one in self.pruned}
        left = [key for key in keys if (key.dataset, key.recipe) not in out]
        if not self.order:
            return left
        place = {(name, recipe): i for name, recipes in self.order.items() for i, recipe in enumerate(recipes)}
        return sorted(left, key=lambda key: (key.seed, place[key.dataset, key.recipe], key.fold))


def choose(prepared: Prepared, *, tick: Callable[[int, int, str], None] = lambda done, total, what: None) -> Chosen:
    """Score the starts of a study and say which recipes are not run, as its field `prune` says.

    Raises:
        ConfigError: the estimate fits no task of the study.
    """
    prune = prepared.study.prune
    if prune is None:
        return Chosen()
    kinds = {prepared.cohorts[data.name].task.kind for data in prepared.study.datasets}
    unfit = sorted(kinds - ESTIMATORS[prune.by].kinds)
    if unfit:
        fits = ", ".join(sorted(ESTIMATORS[prune.by].kinds))
        msg = f'prune.by: "{prune.by}" is for tasks of kind {fits}; this study has {unfit[0]}. Choose another.'
        raise ConfigError(msg)
    tables = score_study(prepared, by=(prune.by,), tick=tick).tables
    begun = _begun(prepared)
    pruned = [one for table in tables for one in left_out(prepared.study, prune, table, begun)]
    order = {table.dataset: _order(prepared.study, table, prune.by) for table in tables} if prune.order else {}
    seen = sorted({one.dataset for one in pruned} & {table.dataset for table in tables if not table.blind})
    warnings = [
        f"prune: on {name} estimates read labels of training cases of the first fold, which other folds test on; the "
        "choice of what was left out is not blind to them."
        for name in seen
    ]
    return Chosen(pruned=tuple(pruned), order=order, warnings=tuple(warnings))


def left_out(study: Study, prune: Prune, table: DataScores, begun: set[tuple[str, str]]) -> list[Pruned]:
    """Return the recipes of a data set that are not run.

    Args:
        study: the study.
        prune: its field.
        table: the estimates.
        begun: (data set, recipe) with finished runs; what is known is not hidden.
    """
    if prune.top_k is None:
        return []
    title = ESTIMATORS[prune.by].title
    known = [start for start in table.starts if start.source and start.values[prune.by].value is not None]
    out = []
    for start in known:
        rank = 1 + sum(_value(other, prune.by) > _value(start, prune.by) for other in known)
        if rank <= prune.top_k:
            continue
        reason = f"not run: pruned by {title} rank {rank} of {len(known)} on {table.cases} training cases"
        for name in start.recipes:
            if not protected(study, prune, name) and (table.dataset, name) not in begun:
                out.append(Pruned(recipe=name, dataset=table.dataset, reason=reason))
    return out


def protected(study: Study, prune: Prune, name: str) -> bool:
    """Tell whether a recipe is never left out."""
    recipe = study.recipe(name)
    trained_before = recipe.procedure.name != "finetune"  # the encoder that is scored is not the one that is tuned
    return recipe.source is None or name == study.baseline or name in prune.keep or trained_before


def _value(start: StartScore, by: str) -> float:
    value = start.values[by].value
    assert value is not None, "starts without a value are not ranked"
    return value


def _order(study: Study, table: DataScores, by: str) -> tuple[str, ...]:
    """Return recipes, the most promising first; ties stay as the study names them, what has no value comes last."""
    place = {name: start.ranks.get(by, len(table.starts) + 1) for start in table.starts for name in start.recipes}
    return tuple(sorted((recipe.name for recipe in study.recipes), key=lambda name: place[name]))


def _begun(prepared: Prepared) -> set[tuple[str, str]]:
    """Return what has finished runs."""
    store = RunStore(prepared.folder)
    return {(k.dataset, k.recipe) for k in prepared.runs() if isinstance(store.outcome(k.id), Done)}
