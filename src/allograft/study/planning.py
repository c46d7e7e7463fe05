"""Planning: every recipe's plan without training, on shapes only."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from allograft import catalog
from allograft.core.errors import ConfigError, PlanError
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_channels
from allograft.data.normalise import normaliser
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.study.admission import require_same_task
from allograft.study.data_spec import open_cohort
from allograft.study.grid import Study
from allograft.study.recipe import Recipe
from allograft.study.sources import find_card, open_source, require_licence
from allograft.weights.card import WeightSource
from allograft.weights.contamination import contamination_notes, licence_note
from allograft.weights.plan import TransferPlan

__all__ = ["Planned", "plan_recipe", "plan_study", "require_fit"]


class Planned(NamedTuple):
    """A recipe's plan on one data set."""

    recipe: str
    dataset: str
    plan: TransferPlan


def plan_study(study: Study, *, base: Path) -> list[Planned]:
    """Return every recipe's plan on every data set; nothing is trained, written or decoded in bulk.

    Args:
        study: the study.
        base: folder that relative paths start from.

    Raises:
        ConfigError: a source is unknown or its licence not accepted.
        DataError: the data cannot be opened.
    """
    plans = []
    cohorts = {spec.name: open_cohort(spec, base=base) for spec in study.data}
    require_same_task(study, cohorts)
    for spec in study.datasets:
        cohort = cohorts[spec.name]
        channels = study.preprocess.channels or _channels(cohort)
        for recipe in study.recipes:
            card = find_card(recipe.source, base) if recipe.source else None
            if card is not None:
                require_licence(card, study.accept_licence)
            plan = plan_recipe(recipe, study, cohort, channels, base=base)
            noted = plan if card is None else _noted(plan, card, study, cohort, channels)
            plans.append(Planned(recipe.name, spec.name, noted))
    return plans


def plan_recipe(recipe: Recipe, study: Study, cohort: Cohort, channels: int, *, base: Path) -> TransferPlan:
    """Return a recipe's plan with `learns` filled for the steps that the search leaves, from shapes alone.

    Raises:
        PlanError: start, tuning and steps do not go together; names recipe and data set.
        ConfigError: the search leaves no step.
    """
    steps, trial = recipe.budget.steps, study.search.trial_steps(recipe.budget.steps)
    try:
        plan = _started(recipe, cohort.task, channels, base)
        if trial:  # a schedule must fit the shorter trials too: better refused now than in the first run
            recipe.tuning.learn(plan, trial)
        return recipe.tuning.learn(plan, study.search.training_steps(steps))
    except PlanError as error:
        split = f" ({steps} steps, of which each trial of the learning-rate search has {trial})" if trial else ""
        msg = f'recipe "{recipe.name}" on {cohort.name}{split}: {error}'
        raise PlanError(msg) from error


def require_fit(recipe: Recipe, task: Task, shape: tuple[int, ...]) -> None:
    """Pass a batch of images (C, *S) through a recipe's network, on shapes alone.

    Raises:
        ConfigError: the network cannot take them: too small for its strides, or not a multiple of them.
    """
    net = _network(recipe, task, shape[0])
    try:
        net(torch.empty(recipe.budget.batch, *shape, device="meta"))
    except NotImplementedError:  # an operation without shapes alone: the first step will tell
        return
    except (ConfigError, RuntimeError, ValueError) as error:
        size = "x".join(map(str, shape[1:]))
        msg = (
            f'recipe "{recipe.name}": {recipe.net.encoder} cannot take images of {size} in batches of '
            f"{recipe.budget.batch} ({error}). Choose a larger patches.size or preprocess.size, or another network."
        )
        raise ConfigError(msg) from error


def _network(recipe: Recipe, task: Task, channels: int) -> Network:
    """Return the recipe's network on the meta device."""
    tasks, parts = {task.head: task}, catalog.parts(recipe.net)
    return build_network(recipe.net, tasks, in_channels=channels, seed=0, parts=parts, device="meta")


def _started(recipe: Recipe, task: Task, channels: int, base: Path) -> TransferPlan:
    """Return the start's plan on the meta device."""
    net = _network(recipe, task, channels)
    source = open_source(recipe.source, base) if recipe.source else None
    return recipe.start.plan(net, source)


def _noted(plan: TransferPlan, card: WeightSource, study: Study, cohort: Cohort, channels: int) -> TransferPlan:
    """Add what the reader must know: input contract, licence, contamination."""
    contract = normaliser(card.expects, study.preprocess.space, channels, preprocess=study.preprocess).note
    notes = [f"input contract: {contract}", *contamination_notes(cohort.name, cohort.seen_as, card)]
    notes += [note for note in (licence_note(card),) if note]
    return plan.model_copy(update={"notes": (*plan.notes, *notes)})


def _channels(cohort: Cohort) -> int:
    """Return the channels of the first image."""
    return int(read_channels(cohort.cases[0].image).array.shape[0])
