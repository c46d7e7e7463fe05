"""L2SP: the formula in numpy, its gradient, its pull."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allograft.core.errors import PlanError
from allograft.nets.network import Network
from allograft.testing.tiny import tiny_net
from allograft.tunings.full import FullTuning
from allograft.tunings.l2_sp import L2SP
from hand_loop import hand_train
from hand_plan import hand_plan


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    keys = [k for k in a if k.startswith("encoder.") and k.endswith(("weight", "bias"))]
    return float(sum((a[k] - b[k]).square().sum() for k in keys))


def moved_net(dims: int) -> tuple[Network, dict[str, torch.Tensor], torch.nn.Module]:
    net = tiny_net(dims)
    tuning = L2SP(alpha=0.3, beta=0.07)
    penalty = tuning.penalty(net, tuning.learn(hand_plan(net), 10))
    assert penalty is not None
    start = {name: value.detach().clone() for name, value in net.named_parameters()}
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return net, start, penalty


@pytest.mark.parametrize("dims", [2, 3])
def test_value_and_gradient_equal_the_formula_in_numpy(dims: int) -> None:
    net, start, penalty = moved_net(dims)
    value = penalty(net)
    value.backward()
    expected = 0.0
    for name, parameter in net.named_parameters():
        now, then = parameter.detach().numpy().astype(np.float64), start[name].numpy().astype(np.float64)
        pull = 0.3 * (now - then) if name.startswith("encoder.") else 0.07 * now
        expected += float((pull**2).sum()) / (2 * (0.3 if name.startswith("encoder.") else 0.07))
        np.testing.assert_allclose(parameter.grad.numpy(), pull, atol=1e-6)
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)


def test_at_the_start_the_pull_of_transferred_weights_is_zero() -> None:
    net = tiny_net(2)
    penalty = L2SP(beta=0.0).penalty(net, hand_plan(net))
    assert penalty is not None
    value = penalty(net)
    value.backward()
    assert float(value.detach()) == 0.0
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())


def test_training_ends_closer_to_the_start_on_synthetic_images() -> None:
    ends = []
    for tuning in (FullTuning(), L2SP(alpha=2.0)):
        net = tiny_net(2)
        plan = tuning.learn(hand_plan(net), 10)
        states = hand_train(net, plan, 10, penalty=tuning.penalty(net, plan))
        ends.append(distance(states[0], states[10]))
    assert 0 < ends[1] < 0.5 * ends[0]


def test_the_starting_point_is_state_that_a_checkpoint_keeps() -> None:
    net, start, penalty = moved_net(2)
    again = L2SP(alpha=0.3, beta=0.07).penalty(net, hand_plan(net))
    assert again is not None
    assert float(again(net).detach()) != float(penalty(net).detach())
    again.load_state_dict(penalty.state_dict())
    assert float(again(net).detach()) == float(penalty(net).detach())
    assert len(penalty.state_dict()) == sum(name.startswith("encoder.") for name in start)


def test_nothing_transferred_is_refused() -> None:
    with pytest.raises(PlanError, match='start "scratch" transfers no weight'):
        L2SP().learn(hand_plan(tiny_net(2), copied=False), 10)


def test_the_plan_warns_of_a_second_pull() -> None:
    assert any("weight_decay" in note for note in L2SP().learn(hand_plan(tiny_net(2)), 10).notes)
