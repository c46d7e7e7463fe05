"""FullTuning: every scale is 1 and everything moves."""

from __future__ import annotations

import pytest

from allograft.testing.tiny import tiny_net
from allograft.tunings.full import FullTuning
from hand_loop import changed, hand_train
from hand_plan import hand_plan


def test_every_scale_is_one_at_every_step() -> None:
    plan = FullTuning().learn(hand_plan(tiny_net(2)), 50)
    assert {e.scale_at(step) for e in plan.entries for step in (0, 25, 49)} == {1.0}
    assert plan.coverage().frozen == 0


def test_it_undoes_an_earlier_tuning() -> None:
    plan = hand_plan(tiny_net(2))
    frozen = plan.with_learns({e.target: ((0, 0.0),) for e in plan.entries}, tuning="frozen")
    assert FullTuning().learn(frozen, 50) == FullTuning().learn(plan, 50)


@pytest.mark.parametrize("dims", [2, 3])
def test_training_moves_every_tensor_on_synthetic_images(dims: int) -> None:
    net = tiny_net(dims)
    states = hand_train(net, FullTuning().learn(hand_plan(net), 3), 3)
    moved = changed(states[0], states[3])
    # A bias before batch norm has no gradient but for rounding, so it may stay.
    assert set(states[0]) - moved <= {name for name in states[0] if name.endswith("conv.bias")}
