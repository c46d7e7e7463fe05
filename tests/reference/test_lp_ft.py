"""LPFT: a linear probe, then full fine-tuning, in one run."""

from __future__ import annotations

import pytest

from allograft.core.errors import PlanError
from allograft.testing.tiny import tiny_net
from allograft.tunings.frozen import Frozen
from allograft.tunings.lp_ft import LPFT
from hand_loop import changed, hand_train
from hand_plan import hand_plan


@pytest.mark.parametrize(("share", "steps", "switch"), [(0.3, 100, 30), (0.5, 7, 4), (0.01, 100, 1)])
def test_the_switch_follows_the_closed_form(share: float, steps: int, switch: int) -> None:
    plan = LPFT(share=share).learn(hand_plan(tiny_net(2)), steps)
    encoder = [e for e in plan.entries if e.target.startswith("encoder.")]
    assert {e.learns for e in encoder} == {((0, 0.0), (switch, 1.0))}
    assert {e.learns for e in plan.entries if e not in encoder} == {((0, 1.0),)}


@pytest.mark.parametrize("dims", [2, 3])
def test_the_probe_is_frozen_bit_by_bit_and_the_encoder_moves_after_on_synthetic_images(dims: int) -> None:
    runs = []
    for tuning in (LPFT(share=0.5), Frozen()):
        net = tiny_net(dims)
        runs.append(hand_train(net, tuning.learn(hand_plan(net), 6), 4))
    assert not changed(runs[0][3], runs[1][3])
    after = changed(runs[0][3], runs[0][4])
    assert {"encoder.stem.conv.weight", "encoder.stem.norm.running_mean", "heads.label.linear.weight"} <= after


@pytest.mark.parametrize(("share", "steps"), [(0.01, 10), (0.99, 10), (0.5, 1)])
def test_an_empty_phase_is_refused(share: float, steps: int) -> None:
    with pytest.raises(PlanError, match="one phase is empty"):
        LPFT(share=share).learn(hand_plan(tiny_net(2)), steps)
