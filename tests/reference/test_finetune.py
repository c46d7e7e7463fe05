"""Fine-tune: one stage with the recipe's own start, tuning and objective, on the whole budget."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from allograft.contracts import Lab
from allograft.procedures.finetune import Finetune
from allograft.testing.procedures import FakeLab


def run(lab: FakeLab) -> torch.nn.Module:
    return Finetune().run(cast("Lab", lab))


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_start_then_train_written_out(dims: int) -> None:
    by_hand = FakeLab(dims)
    expected = by_hand.train("finetune", by_hand.start()).state_dict()
    lab = FakeLab(dims)
    found = run(lab).state_dict()
    assert lab.asked == by_hand.asked
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_one_stage_with_the_whole_budget_and_nothing_but_the_recipe_s_own(dims: int) -> None:
    lab = FakeLab(dims)
    run(lab)
    (asked,) = lab.asked
    assert (asked.stage, asked.share, asked.tuning) == ("finetune", 1.0, None)
    assert asked.objective is lab.objective
    assert asked.ids == {role: cohort.ids for role, cohort in lab.cohorts.items()}


@pytest.mark.parametrize("dims", [2, 3])
def test_the_network_returned_is_the_trained_one(dims: int) -> None:
    lab = FakeLab(dims)
    net = run(lab)
    assert net is lab.done["finetune"]
    start = lab.start().net.state_dict()
    moved = {key for key, value in net.state_dict().items() if not torch.equal(value, start[key])}
    assert moved == {key for key in start if key.startswith("heads.")}


def test_a_finished_stage_is_not_trained_again() -> None:
    first = FakeLab()
    net = run(first)
    assert run(FakeLab(finished=first.done)) is net


def test_it_predicts_nothing_and_asks_for_no_labels() -> None:
    lab = FakeLab()
    run(lab)
    assert lab.predicted == []
