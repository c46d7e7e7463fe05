"""Rehearsal: plans of every stage from shapes alone, stopped honestly where values are asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from allograft.contracts import HOUSE, Method
from allograft.core.errors import ConfigError, PlanError
from allograft.core.reference import Reference
from allograft.data.cohort import Cohort
from allograft.data.transforms.augment import Augment
from allograft.nets.network import Network
from allograft.procedures.continual import Continual, Link
from allograft.procedures.self_supervised import SelfSupervised
from allograft.starts.full import Full
from allograft.study.grid import Search
from allograft.study.planning import require_fit
from allograft.study.recipe import Recipe
from allograft.study.rehearsal import UNFORESEEN, UNREHEARSED, Rehearsed, Stand, rehearse
from allograft.testing.procedures import synthetic_cohort
from allograft.tunings.gradual import Gradual

NET = {"encoder": "resnet10_small", "width": 0.0625}
LINKS = (Link(on=("aid",), share=0.25), Link(on=("other",), share=0.25, tuning="frozen"))


def helper(name: str) -> dict[str, Cohort]:
    cohort = replace(synthetic_cohort(name, 6).under_head(name), name=name)
    return {name: cohort, f"val:{name}": cohort}


def stand(procedure: Method, *, lrs: tuple[float, ...] = (), **fields: Any) -> Stand:
    whole = synthetic_cohort("train", 8)
    return Stand(
        recipe=Recipe.model_validate(
            {"name": "r", "net": NET, "budget": {"steps": 40}, "procedure": procedure, **fields}
        ),
        search=Search(lrs=lrs),
        cohorts={"train": whole, "val": whole, **helper("aid"), **helper("other")},
        channels=1,
        source=None,
    )


def test_every_stage_has_a_plan_with_its_data_and_steps_and_no_values() -> None:
    found = rehearse(stand(Continual(links=LINKS)))
    assert [(s.stage, s.data, s.steps) for s in found] == [
        ("link1", ("aid",), 10),
        ("link2", ("other",), 10),
        ("finetune", ("synthetic",), 20),
    ]
    assert [s.plan.source for s in found] == [None, "link1", "link2"]
    assert [s.plan.tuning for s in found] == ["full", "frozen", "full"]
    assert all(not s.plan.problems for s in found)
    assert all(p.is_meta for s in found for p in s.net.parameters())


def test_a_move_that_cannot_be_is_refused_with_its_place_in_the_chain() -> None:
    links = (Link(on=("aid",), share=0.5, move={"partial": {"until": "stage9"}}),)
    with pytest.raises(PlanError, match=r'recipe "r" on synthetic, after stage link1: .*stage9'):
        rehearse(stand(Continual(links=links)))


class Shrinks(Method):
    """Goes on with a network that its own first stage does not fit."""

    name: ClassVar[str] = "shrinks"
    paper: ClassVar[Reference] = HOUSE

    def run(self, lab: Any) -> Network:
        wide = lab.train("one", lab.start(net=lab.net.model_copy(update={"width": 0.125})), share=0.5)
        return lab.train("two", lab.start(source=lab.source(wide, "wide"), start=Full()), share=0.5)


def test_a_problem_of_a_later_stage_is_in_its_plan() -> None:
    first, second = rehearse(stand(Shrinks()))
    assert first.plan.problems == ()
    assert second.plan.problems
    with pytest.raises(PlanError, match="wide"):
        second.plan.require_sound()


def test_a_schedule_that_does_not_fit_a_stage_is_refused_by_name() -> None:
    links = (Link(on=("aid",), share=0.05, tuning=Gradual()),)
    with pytest.raises(PlanError, match=r'recipe "r" on synthetic, stage link1'):
        rehearse(stand(Continual(links=links)))


def test_data_that_the_study_lacks_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(ConfigError, match="elsewhere"):
        rehearse(stand(Continual(links=(Link(on=("elsewhere",), share=0.5),))))
    with pytest.raises(ConfigError, match=r'stage finetune.*role "aim"'):
        rehearse(stand(Continual(), objective={"gan": {"role": "aim"}}))


def test_a_decoder_that_no_stage_uses_is_refused() -> None:
    with pytest.raises(ConfigError, match="does nothing"):
        rehearse(stand(Continual(), net={**NET, "decoder": "unet"}))


class Asks(Method):
    """Trains twice, and wants to know what the first network predicts."""

    name: ClassVar[str] = "asks"
    paper: ClassVar[Reference] = HOUSE
    how: str = "predict"

    def run(self, lab: Any) -> Network:
        if self.how == "first":
            lab.predict("first", lab.start().net, lab.cohorts["train"])
        net = lab.train("one", lab.start(), share=0.5)
        if self.how == "predict":
            lab.predict("look", net, lab.cohorts["train"])
        if self.how == "label":
            lab.label(lab.cohorts["train"].ids[:1])
        if self.how == "value":
            float(next(net.parameters()).detach().sum())
        return lab.train("two", lab.start(), share=0.5)


@pytest.mark.parametrize(("how", "says"), [("predict", UNFORESEEN), ("label", UNFORESEEN), ("value", UNREHEARSED)])
def test_it_stops_where_values_are_asked_for_and_says_so(how: str, says: str) -> None:
    (only,) = rehearse(stand(Asks(how=how)))
    assert only.stage == "one"
    assert any(note.startswith(says) for note in only.plan.notes)


def test_without_a_single_stage_the_recipe_s_own_start_is_planned() -> None:
    (only,) = rehearse(stand(Asks(how="first")))
    assert (only.stage, only.steps) == ("begin", 40)
    assert UNFORESEEN in only.plan.notes


def test_a_stage_whose_images_do_not_fit_is_found_by_its_data() -> None:
    how = stand(Continual(links=LINKS))
    stages: tuple[Rehearsed, ...] = rehearse(how)
    shapes = {"aid": (1, 32, 32), "other": (1, 32, 32), "synthetic": (1, 32, 32)}
    require_fit(how.recipe, stages, shapes)
    with pytest.raises(ConfigError, match=r"cannot take images of 32x32.*stage link2"):
        require_fit(how.recipe, stages, {**shapes, "other": (3, 32, 32)})


def test_nothing_of_torch_s_random_state_is_used_up() -> None:
    before = torch.get_rng_state()
    rehearse(stand(Continual(links=LINKS), lrs=(1e-3, 1e-2)))
    assert torch.equal(before, torch.get_rng_state())


def test_what_of_the_augmentation_does_nothing_is_a_line_of_the_plan_or_refused() -> None:
    given = replace(stand(SelfSupervised(augment=Augment(preset="medical_views"))), augment=Augment(preset="light"))
    pretext, finetune = rehearse(given)
    left_out = "augment: modality_dropout of medical_views is left out, images have 1 channel"
    assert left_out in pretext.plan.notes
    assert not any("augment" in note for note in finetune.plan.notes)
    named = Augment.model_validate(["modality_dropout"])
    with pytest.raises(ConfigError, match=r'recipe "r".*stage pretext.*at least 2 channels, these have 1'):
        rehearse(stand(SelfSupervised(augment=named)))
