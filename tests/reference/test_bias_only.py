"""BiasOnly: tensors named bias learn, filters and scales do not."""

from __future__ import annotations

import pytest

from allograft.core.errors import PlanError
from allograft.testing.tiny import tiny_net
from allograft.tunings.bias_only import BiasOnly
from hand_loop import changed, hand_train
from hand_plan import hand_plan


@pytest.mark.parametrize("dims", [2, 3])
def test_what_learns_are_the_parameters_named_bias_and_the_head(dims: int) -> None:
    net = tiny_net(dims)
    plan = BiasOnly().learn(hand_plan(net), 10)
    parameters = {name for name, _ in net.named_parameters()}
    expected = {name for name in parameters if name.endswith(".bias") or name.startswith("heads.")}
    assert {e.target for e in plan.entries if not e.frozen} & parameters == expected


@pytest.mark.parametrize("dims", [2, 3])
def test_weights_stay_bit_by_bit_and_biases_move_on_synthetic_images(dims: int) -> None:
    net = tiny_net(dims, norm="none")
    states = hand_train(net, BiasOnly().learn(hand_plan(net), 3), 3)
    moved = changed(states[0], states[3])
    assert {f"encoder.{m}.conv.bias" for m in ("stem", "layer1", "layer2")} <= moved
    assert not any(name.startswith("encoder.") and name.endswith(".weight") for name in moved)


def test_the_plan_tells_the_truth_about_running_statistics() -> None:
    net = tiny_net(2)
    plan = BiasOnly().learn(hand_plan(net), 3)
    states = hand_train(net, plan, 3)
    frozen = {e.target for e in plan.entries if e.frozen}
    assert not frozen & changed(states[0], states[3])
    assert "encoder.stem.norm.running_mean" in changed(states[0], states[3])


def test_an_encoder_without_biases_is_refused() -> None:
    with pytest.raises(PlanError, match="has no bias"):
        BiasOnly().learn(hand_plan(tiny_net(2, norm="none", bias=False)), 10)
