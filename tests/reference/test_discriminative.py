"""Discriminative: scales against the closed form, and the size of a step."""

from __future__ import annotations

import pytest
import torch

from allograft.testing.tiny import tiny_net
from allograft.tunings.discriminative import Discriminative
from allograft.tunings.full import FullTuning
from hand_loop import hand_train
from hand_plan import hand_plan


def test_scales_follow_the_closed_form() -> None:
    plan = Discriminative(decay=0.5).learn(hand_plan(tiny_net(2, decoder=True)), 100)
    scales = {e.stage: e.scale_at(99) for e in plan.entries}
    assert scales == {"stem": 0.125, "stage1": 0.25, "stage2": 0.5, "decoder": 1.0, "head.label": 1.0}


def test_decay_one_is_full_and_says_so() -> None:
    plan = hand_plan(tiny_net(2))
    one = Discriminative(decay=1.0).learn(plan, 10)
    assert [e.learns for e in one.entries] == [e.learns for e in FullTuning().learn(plan, 10).entries]
    assert any("slows nothing down" in note for note in one.notes)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_step_of_sgd_is_the_plain_step_times_the_scale_on_synthetic_images(dims: int) -> None:
    moves = []
    for tuning in (FullTuning(), Discriminative(decay=0.4)):
        net = tiny_net(dims)
        states = hand_train(net, tuning.learn(hand_plan(net), 1), 1)
        moves.append({name: states[1][name] - value for name, value in states[0].items()})
    for name, scale in (("encoder.stem", 0.4**3), ("encoder.layer1", 0.4**2), ("encoder.layer2", 0.4)):
        plain, slow = (m[f"{name}.conv.weight"] for m in moves)
        assert plain.abs().max() > 1e-4
        torch.testing.assert_close(slow, scale * plain, rtol=1e-3, atol=2e-7)
    torch.testing.assert_close(moves[0]["heads.label.linear.weight"], moves[1]["heads.label.linear.weight"])


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay"):
        Discriminative(decay=decay)
