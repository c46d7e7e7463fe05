"""LastK: which stages learn, for each k."""

from __future__ import annotations

import pytest

from allograft.core.errors import PlanError
from allograft.testing.tiny import tiny_net
from allograft.tunings.last_k import LastK
from hand_loop import changed, hand_train
from hand_plan import hand_plan


@pytest.mark.parametrize(
    ("k", "free"), [(1, {"stage3"}), (2, {"stage2", "stage3"}), (3, {"stage1", "stage2", "stage3"})]
)
def test_the_last_k_stages_and_the_head_learn(k: int, free: set[str]) -> None:
    plan = LastK(k=k).learn(hand_plan(tiny_net(2, widths=(4, 4, 4, 4))), 10)
    assert {e.stage for e in plan.entries if not e.frozen} == free | {"head.label"}


@pytest.mark.parametrize("dims", [2, 3])
def test_low_stages_stay_bit_by_bit_and_the_last_move_on_synthetic_images(dims: int) -> None:
    net = tiny_net(dims)
    states = hand_train(net, LastK(k=1).learn(hand_plan(net), 3), 3)
    moved = changed(states[0], states[3])
    assert not any(name.startswith(("encoder.stem", "encoder.layer1")) for name in moved)
    assert {"encoder.layer2.conv.weight", "encoder.layer2.norm.running_mean", "heads.label.linear.weight"} <= moved


@pytest.mark.parametrize("k", [3, 9])
def test_k_that_freezes_nothing_is_refused(k: int) -> None:
    with pytest.raises(PlanError, match="freezes nothing, the encoder has 3 stages"):
        LastK(k=k).learn(hand_plan(tiny_net(2)), 10)


def test_one_more_stage_frees_exactly_that_stages_tensors() -> None:
    plan = hand_plan(tiny_net(3))
    one, two = (LastK(k=k).learn(plan, 10) for k in (1, 2))
    more = {e.stage for e, f in zip(one.entries, two.entries, strict=True) if e.learns != f.learns}
    assert more == {"stage1"}
