"""Conduct a study: prepare, prove the plans, execute, write results, judge."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from allograft.core.errors import PlanError
from allograft.study.execute import Ended, Executor, execute
from allograft.study.executors.local import LocalExecutor
from allograft.study.grid import Study
from allograft.study.job import run_one
from allograft.study.outcome import Done, RunKey
from allograft.study.planning import require_fit, stand_in
from allograft.study.prepared import Launch, Prepared, prepare, processors
from allograft.study.pruning import choose
from allograft.study.rehearsal import rehearse
from allograft.study.store import RunStore
from allograft.study.summarise import summarise
from allograft.study.summary import Summary

__all__ = ["conduct"]


def conduct(
    study: Study,
    out: Path,
    *,
    launch: Launch | None = None,
    executor: Executor | None = None,
    seconds: float | None = None,
    on_outcome: Callable[[Ended, int], None] = lambda outcome, total: None,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Run what is not finished yet, write `results.parquet`, and return what was found.

    Args:
        study: the study.
        out: its folder; made if absent, continued if it is this study's.
        launch: from where and by how many processes; None takes this folder and one per processor.
        executor: where runs execute; None takes local processes.
        seconds: time allowed; whole seeds for all recipes.
        on_outcome: called with each new outcome and the number of runs to do.
        on_image: called while images are checked.

    Raises:
        ConfigError, DataError, PlanError, ResumeError: what is wrong, before any training.
    """
    launch = launch or Launch(workers=processors())
    out = out.resolve()
    prepared = prepare(study, out, launch=launch, progress=on_image)
    require_sound_plans(prepared)
    store, keys = RunStore(out), chosen_runs(prepared)
    todo = sum(not isinstance(store.outcome(key.id), Done) for key in keys)
    job = partial(run_one, folder=out)
    run_where = executor or LocalExecutor(min(launch.workers, max(1, todo)))
    execute(keys, store, run_where, job, seconds=seconds, report=lambda outcome: on_outcome(outcome, todo))
    finished = [key.id for key in keys if isinstance(store.outcome(key.id), Done)]
    store.sweep(finished)
    store.write_results(finished)
    return summarise(out)


def chosen_runs(prepared: Prepared) -> list[RunKey]:
    """Return the runs to make, in order; what `prune` leaves out is written into the study's folder with its reason."""
    keys = by_promise(prepared.study, prepared.runs())
    if prepared.study.prune is None:
        return keys
    chosen = choose(prepared)
    left, store = chosen.runs(keys), RunStore(prepared.folder)
    before = store.study()
    facts = {
        "keys": [key.model_dump(mode="json") for key in left],
        "pruned": [one.model_dump(mode="json") for one in chosen.pruned],
        "warnings": [*before["warnings"], *chosen.warnings],
    }
    store.claim({**before, **facts})
    return left


def by_promise(study: Study, keys: list[RunKey]) -> list[RunKey]:
    """Order runs by seed, then the recipes most likely to win first: pretrained and cheap, pretrained, others.

    The order changes no number; it decides what is known first, and what is finished when time runs out.
    """

    def rank(key: RunKey) -> tuple[int, int, int]:
        recipe = study.recipe(key.recipe)
        return key.seed, 2 * (recipe.source is None) + (recipe.tuning.name != "frozen"), key.fold

    return sorted(keys, key=rank)


def require_sound_plans(prepared: Prepared) -> None:
    """Rehearse every recipe on every data set, on shapes alone, before the first step.

    Raises:
        PlanError: the plan of a stage has problems; names recipe, data set and stage.
        ConfigError: a network cannot take the images, or a procedure goes not with the study; names the recipe.
    """
    study, cohorts = prepared.study, prepared.cohorts
    shapes = {data.name: prepared.shape(data.name) for data in (*study.datasets, *study.auxiliary)}
    for name in (data.name for data in study.datasets):
        channels = prepared.stores[name].channels
        for recipe in study.recipes:
            stages = rehearse(stand_in(recipe, study, cohorts, name, channels=channels, base=prepared.base))
            for at in stages:
                try:
                    at.plan.require_sound()
                except PlanError as error:
                    msg = f'recipe "{recipe.name}" on {name}, stage {at.stage}: {error}'
                    raise PlanError(msg) from error
            require_fit(recipe, stages, shapes)
