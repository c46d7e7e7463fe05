"""Planning: the plan of every stage of every recipe without training, on shapes only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from allograft.core.errors import ConfigError
from allograft.core.private import site_salt
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_channels
from allograft.data.normalise import normaliser
from allograft.study.admission import require_channels, require_same_task
from allograft.study.casting import stand_in_roles
from allograft.study.data_spec import open_cohort, under_names
from allograft.study.folding import cut_folds, tested_cases
from allograft.study.grid import Study
from allograft.study.made_with import made_with
from allograft.study.provenance import cards_of, name_warnings, patient_warnings
from allograft.study.recipe import Recipe
from allograft.study.rehearsal import Rehearsed, Stand, rehearse
from allograft.study.sources import find_card, open_source, require_licence
from allograft.study.tested_images import tested_role
from allograft.weights.card import WeightSource
from allograft.weights.contamination import licence_note
from allograft.weights.plan import TransferPlan

__all__ = ["Planned", "plan_study", "require_fit", "stand_in"]


class Planned(NamedTuple):
    """The plan of one stage of a recipe on one data set.

    Args:
        recipe: the recipe.
        dataset: the data set that is studied.
        stage: of the recipe's procedure, in order.
        plan: what becomes of every tensor when the stage begins, and how it learns in it.
        data: names of the data sets that the stage reads.
        steps: in all, the learning-rate search included.
    """

    recipe: str
    dataset: str
    stage: str
    plan: TransferPlan
    data: tuple[str, ...]
    steps: int


def plan_study(study: Study, *, base: Path) -> list[Planned]:
    """Return the plan of every stage of every recipe on every data set; nothing is trained, written or decoded in bulk.

    Args:
        study: the study.
        base: folder that relative paths start from.

    Raises:
        ConfigError: a source is unknown, its licence not accepted, or a procedure names what the study has not.
        DataError: the data cannot be opened.
    """
    plans = []
    opened = {spec.name: open_cohort(spec, base=base) for spec in study.data}
    require_same_task(study, opened)
    cohorts = under_names(opened, {spec.name for spec in study.auxiliary})
    for spec in study.datasets:
        channels = study.preprocess.channels or _channels(opened[spec.name])
        require_channels(study, cohorts, {spec.name: channels})
        for recipe in study.recipes:
            card = find_card(recipe.source, base) if recipe.source else None
            if card is not None:
                require_licence(card, study.accept_licence)
            for at in rehearse(stand_in(recipe, study, cohorts, spec.name, channels=channels, base=base)):
                # The card is about the weights that a recipe names; later stages begin from the recipe's own.
                of_card = card is not None and at.plan.source == card.name
                plan = _noted(at.plan, card, study, opened[spec.name], channels) if card and of_card else at.plan
                plan = plan.with_notes(*_seen_before(study.model_copy(update={"recipes": (recipe,)}), cohorts, base))
                plans.append(Planned(recipe.name, spec.name, at.stage, plan, at.data, at.steps))
    return plans


def _seen_before(study: Study, cohorts: Mapping[str, Cohort], base: Path) -> list[str]:
    """Return what the weights have seen of the study's data: by the names of sets, and case by case where they say."""
    said = name_warnings(study, cohorts, base)
    if not any(map(made_with, cards_of(study, base).values())):
        return said
    tested = tested_cases(study, cohorts, cut_folds(study, cohorts))
    return said + patient_warnings(study, cohorts, tested, salt=site_salt(), base=base)


def stand_in(
    recipe: Recipe, study: Study, cohorts: Mapping[str, Cohort], dataset: str, *, channels: int, base: Path
) -> Stand:
    """Return what stands in for a run: cohorts in every role that its procedure will find; who is in them is not said.

    Args:
        recipe: the recipe.
        study: its study.
        cohorts: of every data set of the study, named as there.
        dataset: the one that is studied.
        channels: of its images.
        base: folder that relative paths start from.
    """
    whole = cohorts[dataset]
    roles = {"train": whole, "val": whole}
    fewer = study.label_counts or min(study.label_fractions) < 1 or len(whole.labelled()) < len(whole)
    shift = next(spec.shift for spec in study.datasets if spec.name == dataset)
    if shift is not None:
        roles = stand_in_roles(whole, shift, recipe.learn or "source")
    elif fewer and len(whole) > 1:  # disjoint, as in a run: procedures may join the two
        roles |= {"train": whole.subset(whole.ids[:-1]), "unlabelled": whole.subset(whole.ids[-1:])}
    roles |= tested_role(recipe.procedure, whole.subset(whole.ids[:1]))
    for helper in study.auxiliary:
        roles |= {helper.name: cohorts[helper.name], f"val:{helper.name}": cohorts[helper.name]}
    source = open_source(recipe.source, base) if recipe.source else None
    augment = recipe.augment if recipe.augment is not None else study.augment
    return Stand(recipe=recipe, search=study.search, cohorts=roles, channels=channels, source=source, augment=augment)


def require_fit(recipe: Recipe, stages: Sequence[Rehearsed], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Pass a batch of each stage's data through its network, on shapes alone.

    Args:
        recipe: the recipe.
        stages: what `rehearse` returned.
        shapes: (C, *S) of what enters a network, by data set.

    Raises:
        ConfigError: a network cannot take them: too small for its strides, or not a multiple of them.
    """
    for stage in stages:
        for name in stage.data:
            try:
                stage.net(torch.empty(recipe.budget.batch, *shapes[name], device="meta"))
            except NotImplementedError:  # an operation without shapes alone: the first step will tell
                continue
            except (ConfigError, RuntimeError, ValueError) as error:
                size = "x".join(map(str, shapes[name][1:]))
                msg = (
                    f'recipe "{recipe.name}": {recipe.net.encoder} cannot take images of {size} in batches of '
                    f"{recipe.budget.batch} (stage {stage.stage}: {error}). Choose a larger patches.size or "
                    "preprocess.size, or another network."
                )
                raise ConfigError(msg) from error


def _noted(plan: TransferPlan, card: WeightSource, study: Study, cohort: Cohort, channels: int) -> TransferPlan:
    """Add what the reader must know: input contract, licence, contamination."""
    names, how = cohort.channel_names(channels), study.preprocess
    contract = normaliser(card.expects, how.space, channels, preprocess=how, names=names).note
    notes = [f"input contract: {contract}", *filter(None, [licence_note(card)])]
    return plan.with_notes(*notes)


def _channels(cohort: Cohort) -> int:
    """Return the channels of the first image."""
    return int(read_channels(cohort.cases[0].image).array.shape[0])
