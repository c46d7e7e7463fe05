"""Planning: every recipe's plan without training, on shapes only."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from allograft import catalog
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_channels
from allograft.data.normalise import normaliser
from allograft.nets.build import build_network
from allograft.study.data_spec import open_cohort
from allograft.study.grid import Study
from allograft.study.recipe import Recipe
from allograft.study.sources import find_card, open_source, require_licence
from allograft.weights.contamination import contamination_notes, licence_note
from allograft.weights.plan import TransferPlan

__all__ = ["Planned", "plan_recipe", "plan_study"]


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
    for spec in study.datasets:
        cohort = open_cohort(spec, base=base)
        channels = study.preprocess.channels or _channels(cohort)
        for recipe in study.recipes:
            if recipe.source:
                require_licence(find_card(recipe.source), study.accept_licence)
            plan = plan_recipe(recipe, cohort.task, channels)
            plans.append(Planned(recipe.name, spec.name, _noted(plan, recipe, study, cohort, channels)))
    return plans


def plan_recipe(recipe: Recipe, task: Task, channels: int) -> TransferPlan:
    """Return a recipe's plan with `learns` filled, from shapes alone."""
    net = build_network(
        recipe.net,
        {task.head: task},
        in_channels=channels,
        seed=0,
        encoder_factory=catalog.encoder_factory(recipe.net.encoder),
        device="meta",
    )
    source = open_source(recipe.source) if recipe.source else None
    return recipe.tuning.learn(recipe.start.plan(net, source), recipe.budget.steps)


def _noted(plan: TransferPlan, recipe: Recipe, study: Study, cohort: Cohort, channels: int) -> TransferPlan:
    """Add what the reader must know: input contract, licence, contamination."""
    if not recipe.source:
        return plan
    card = find_card(recipe.source)
    contract = normaliser(card.expects, study.preprocess.space, channels, preprocess=study.preprocess).note
    notes = [f"input contract: {contract}", *contamination_notes(cohort.name, cohort.seen_as, card)]
    notes += [note for note in (licence_note(card),) if note]
    return plan.model_copy(update={"notes": (*plan.notes, *notes)})


def _channels(cohort: Cohort) -> int:
    """Return the channels of the first image."""
    return int(read_channels(cohort.cases[0].image).array.shape[0])
