"""Frozen: the encoder stays bit by bit, the head learns what it would on fixed features."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from allograft.core.errors import PlanError
from allograft.nets.network import Network
from allograft.testing.tiny import tiny_net
from allograft.tunings.frozen import Frozen
from hand_loop import changed, hand_train, synthetic_batch
from hand_plan import hand_plan


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_encoder_is_bit_equal_after_training_running_statistics_included(dims: int, decoder: bool) -> None:
    net = tiny_net(dims, decoder=decoder)
    states = hand_train(net, Frozen().learn(hand_plan(net), 4), 4)
    moved = changed(states[0], states[4])
    assert moved == {name for name in states[0] if not name.startswith("encoder.")}
    assert any("running_mean" in name for name in states[0])


def test_the_head_equals_a_linear_model_trained_by_hand_on_the_fixed_features() -> None:
    net = tiny_net(2)
    head = nn.Linear(8, 2)
    head.load_state_dict({k.removeprefix("linear."): v for k, v in net.heads["label"].state_dict().items()})
    features = []
    net.eval()
    with torch.no_grad():
        features = [net(synthetic_batch(2, step)[0]).pooled for step in range(5)]
    optim = torch.optim.SGD(head.parameters(), lr=0.1)
    for step in range(5):
        optim.zero_grad()
        nn.functional.cross_entropy(head(features[step]), synthetic_batch(2, step)[1]).backward()
        optim.step()
    states = hand_train(net, Frozen().learn(hand_plan(net), 5), 5)
    torch.testing.assert_close(states[5]["heads.label.linear.weight"], head.weight.detach())
    torch.testing.assert_close(states[5]["heads.label.linear.bias"], head.bias.detach())


def test_freezing_acts_the_same_run_without_it_moves_the_encoder() -> None:
    net = tiny_net(2)
    states = hand_train(net, hand_plan(net), 2)
    assert any(name.startswith("encoder.") for name in changed(states[0], states[2]))


def test_a_network_without_heads_is_refused() -> None:
    net = Network(tiny_net(2).encoder, {})
    with pytest.raises(PlanError, match="no head or decoder"):
        Frozen().learn(hand_plan(net), 10)
