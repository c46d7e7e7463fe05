"""Gradual: thaw steps against the closed form, and what they do to tensors."""

from __future__ import annotations

import pytest

from allograft.core.errors import PlanError
from allograft.testing.tiny import tiny_net
from allograft.tunings.frozen import Frozen
from allograft.tunings.gradual import Gradual
from hand_loop import changed, hand_train
from hand_plan import hand_plan


def test_thaw_steps_follow_the_closed_form() -> None:
    plan = Gradual(every=0.2).learn(hand_plan(tiny_net(2)), 100)
    first = {e.stage: next(step for step in range(100) if e.scale_at(step) > 0) for e in plan.entries}
    assert first == {"stem": 60, "stage1": 40, "stage2": 20, "head.label": 0}


@pytest.mark.parametrize("stages", [2, 3, 14])
def test_by_default_everything_learns_in_the_second_half_whatever_the_network(stages: int) -> None:
    plan = Gradual().learn(hand_plan(tiny_net(2, widths=(4,) * stages)), 280)
    thaws = {e.stage: e.learns[-1][0] for e in plan.entries if e.stage != "head.label"}
    assert sorted(thaws.values()) == [round(140 * i / stages) for i in range(1, stages + 1)]
    assert thaws["stem"] == 140


@pytest.mark.parametrize("dims", [2, 3])
def test_a_stage_is_bit_equal_until_its_step_and_moves_after_on_synthetic_images(dims: int) -> None:
    net = tiny_net(dims)
    states = hand_train(net, Gradual(every=0.25).learn(hand_plan(net), 8), 8)
    for step, module in ((2, "encoder.layer2"), (4, "encoder.layer1"), (6, "encoder.stem")):
        assert not any(name.startswith(module) for name in changed(states[0], states[step]))
        assert f"{module}.conv.weight" in changed(states[step], states[step + 1])
        assert f"{module}.norm.running_var" in changed(states[step], states[step + 1])


def test_before_the_first_thaw_it_is_the_tuning_frozen() -> None:
    runs = []
    for tuning in (Gradual(every=0.3), Frozen()):
        net = tiny_net(2)
        runs.append(hand_train(net, tuning.learn(hand_plan(net), 10), 4))
    assert not changed(runs[0][3], runs[1][3])
    assert changed(runs[0][4], runs[1][4])


def test_one_stage_is_refused() -> None:
    with pytest.raises(PlanError, match="has 1 stage, nothing is gradual"):
        Gradual().learn(hand_plan(tiny_net(2, widths=(4,))), 100)


def test_a_stage_that_would_never_learn_is_refused() -> None:
    with pytest.raises(PlanError, match='stage "stem" would first learn at step 120 of 100'):
        Gradual(every=0.4).learn(hand_plan(tiny_net(2)), 100)


@pytest.mark.parametrize("steps", [2, 4])
def test_too_few_steps_to_thaw_one_by_one_are_refused(steps: int) -> None:
    with pytest.raises(PlanError, match="too few to thaw 3 stages"):
        Gradual(every=0.1).learn(hand_plan(tiny_net(2)), steps)
