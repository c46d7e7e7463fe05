"""BNOnly: torch's own norm layers say which tensors learn."""

from __future__ import annotations

import pytest

from allograft.core.errors import PlanError
from allograft.nets.network import Network
from allograft.testing.tiny import tiny_net
from allograft.tunings.bn_only import BNOnly
from hand_loop import NORMS, changed, hand_train
from hand_plan import hand_plan


def norm_tensors(net: Network) -> set[str]:
    found = set()
    for name, module in net.named_modules():
        if isinstance(module, NORMS):
            found |= {f"{name}.{key}" for key in module.state_dict()}
    return found


@pytest.mark.parametrize("dims", [2, 3])
def test_what_learns_are_the_norm_layers_and_the_head(dims: int) -> None:
    net = tiny_net(dims)
    plan = BNOnly().learn(hand_plan(net), 10)
    head = {name for name in net.state_dict() if name.startswith("heads.")}
    assert {e.target for e in plan.entries if not e.frozen} == norm_tensors(net) | head


@pytest.mark.parametrize("dims", [2, 3])
def test_filters_stay_bit_by_bit_and_scales_move_on_synthetic_images(dims: int) -> None:
    net = tiny_net(dims)
    states = hand_train(net, BNOnly().learn(hand_plan(net), 3), 3)
    moved = changed(states[0], states[3])
    assert moved == norm_tensors(net) | {name for name in states[0] if name.startswith("heads.")}


def test_few_numbers_learn() -> None:
    net = tiny_net(2)
    plan = BNOnly().learn(hand_plan(net), 10)
    free = sum(e.numbers for e in plan.entries if not e.frozen and e.stage != "head.label")
    assert free == (4 + 6 + 8) * 4 + 3  # scale, shift, mean, variance; a counter per layer


def test_an_encoder_without_norms_is_refused() -> None:
    with pytest.raises(PlanError, match="no normalisation layer"):
        BNOnly().learn(hand_plan(tiny_net(2, norm="none")), 10)
