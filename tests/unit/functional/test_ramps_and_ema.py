from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from allograft.functional.ema import ema_decay, ema_update, teacher_of
from allograft.functional.ramps import ganin_ramp, sigmoid_ramp


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    made(torch.randn(4, 1, 8, 8) + seed)
    return made


def test_sigmoid_ramp_has_the_worked_values() -> None:
    worked = {0: 0.006737947, 50: 0.060054668, 100: 0.286504797, 150: 0.731615629, 200: 1.0}
    for e, value in worked.items():
        assert sigmoid_ramp(e / 200) == pytest.approx(value, abs=1e-9)
    assert sigmoid_ramp(7.0) == 1.0


def test_ganin_ramp_begins_at_0_and_ends_near_1() -> None:
    assert ganin_ramp(0.0) == 0.0
    assert ganin_ramp(1.0) == pytest.approx(0.9999092, abs=1e-7)


def test_decay_has_the_worked_values() -> None:
    got = [ema_decay(t, 0.99) for t in (0, 1, 9, 98, 99, 500)]
    assert got == pytest.approx([0, 0.5, 0.9, 0.98989899, 0.99, 0.99])


def test_the_average_is_torch_s_own() -> None:
    teacher, judge = teacher_of(net(0)), AveragedModel(net(0), multi_avg_fn=get_ema_multi_avg_fn(0.9))
    judge.update_parameters(net(0))
    for seed in (1, 2):
        ema_update(teacher, net(seed), 0.9)
        judge.update_parameters(net(seed))
    for mine, theirs in zip(teacher.parameters(), judge.module.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("buffers", "share"), [("average", 0.25), ("copy", 1.0), ("own", 0.0)])
def test_running_statistics_follow_as_asked(buffers: str, share: float) -> None:
    teacher, student = teacher_of(net(0)), net(3)
    before, after = teacher.state_dict()["1.running_mean"].clone(), student.state_dict()["1.running_mean"]
    ema_update(teacher, student, 0.75, buffers=buffers)  # type: ignore[arg-type]
    torch.testing.assert_close(teacher.state_dict()["1.running_mean"], before.lerp(after, share))


def test_a_teacher_asks_for_no_gradient_and_at_decay_0_is_the_student() -> None:
    teacher, student = teacher_of(net(0)), net(1)
    assert not any(p.requires_grad for p in teacher.parameters())
    ema_update(teacher, student, ema_decay(0, 0.99))
    for mine, theirs in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
