"""Learning rates and parameter groups."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from allograft.contracts import Criterion, Optim, Player
from allograft.core.errors import ConfigError, PlanError
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_plan
from allograft.train.learning import Learning
from allograft.train.optim import build_movers, lr_at

FROZEN = ((0, 0.0),)


def movers_of(net, learns=None, *, criterion=None, steps=10, optim=None):
    nets = {"net": net}
    learning = Learning(nets, {"net": tiny_plan(net, learns)})
    return build_movers(nets, criterion or Criterion(), learning, optim or Optim(), steps)


def test_cosine_equals_pytorchs_schedule():
    optim, total = Optim(lr=0.3, warmup=0.0), 20
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, total)
    for step in range(total):
        assert lr_at(optim, step, total) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        reference.step()
        schedule.step()


def test_poly_equals_pytorchs_schedule():
    optim, total = Optim(lr=0.3, warmup=0.0, schedule="poly"), 20
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.PolynomialLR(reference, total, power=0.9)
    for step in range(total):
        assert lr_at(optim, step, total) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        reference.step()
        schedule.step()


def test_warmup_rises_evenly_to_the_peak_and_never_uses_zero():
    rates = [lr_at(Optim(lr=1.0, warmup=0.3, schedule="constant"), step, 10) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 7)


def test_a_run_of_one_step_has_a_rate():
    assert lr_at(Optim(lr=1.0, warmup=0.9), 0, 1) > 0
    assert math.isfinite(lr_at(Optim(lr=1.0, warmup=0.9), 0, 2))


def test_norm_layers_and_biases_have_no_weight_decay():
    net = tiny_net(2)
    groups = movers_of(net, optim=Optim(weight_decay=0.1))[0].optimizer.param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] == 0.1 for p in group["params"]}
    spared = {id(p) for group in groups if group["weight_decay"] == 0.0 for p in group["params"]}
    for name, parameter in net.named_parameters():
        assert id(parameter) in (decayed if parameter.ndim > 1 else spared), name


def test_rates_follow_the_plan():
    net = tiny_net(2)
    mover = movers_of(net, {"stem": FROZEN, "stage1": ((0, 0.1),), "stage2": ((0, 0.0), (4, 1.0))})[0]
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    base = mover.set_rates(3, 10)
    rate = {names[id(p)]: group["lr"] for group in mover.optimizer.param_groups for p in group["params"]}
    assert not any("stem" in name for name in rate)
    assert rate["encoder.layer1.conv.weight"] == pytest.approx(0.1 * base)
    assert rate["encoder.layer2.conv.weight"] == 0
    assert rate["heads.label.linear.weight"] == base
    assert base == lr_at(Optim(), 3, 10)


def test_nothing_that_learns_is_refused():
    stages = [stage.name for stage in tiny_net(2).stages()]
    with pytest.raises(PlanError, match="no tensor learns at step 0"):
        movers_of(tiny_net(2), dict.fromkeys(stages, FROZEN))
    with pytest.raises(PlanError, match="no tensor learns at step 5"):
        movers_of(tiny_net(2), dict.fromkeys(stages, ((0, 1.0), (5, 0.0))))


def test_a_plan_of_another_network_is_refused():
    with pytest.raises(PlanError, match="lacks 2 of its tensors"):
        Learning(
            {"net": tiny_net(2, widths=(4, 6, 8))},
            {
                "net": tiny_plan(tiny_net(2, widths=(4, 6, 8), bias=False)).model_copy(
                    update={"entries": tiny_plan(tiny_net(2)).entries[2:]}
                )
            },
        )
    with pytest.raises(PlanError, match="has no plan"):
        Learning({"student": tiny_net(2)}, {"net": tiny_plan(tiny_net(2))})


class _TwoPlayers(Criterion):
    def __init__(self, names=("one", "two"), stray=None):
        super().__init__()
        self.own, self.names, self.stray = nn.Linear(2, 2), names, stray or []

    def players(self, nets):
        mine = self.stray or [*self.own.parameters()]
        return (
            Player(self.names[0], [*nets["net"].parameters()]),
            Player(self.names[1], mine, Optim(name="sgd", lr=0.5), 2),
        )


def test_each_player_has_its_own_optimiser():
    one, two = movers_of(tiny_net(2), criterion=_TwoPlayers())
    assert isinstance(one.optimizer, torch.optim.AdamW)
    assert isinstance(two.optimizer, torch.optim.SGD)
    assert (two.turns, two.set_rates(5, 10)) == (2, lr_at(Optim(lr=0.5), 5, 10))
    assert sorted(two.names.values()) == ["criterion.own.bias", "criterion.own.weight"]


def test_players_of_one_name_and_tensors_of_nobody_are_refused():
    with pytest.raises(ConfigError, match="different names"):
        movers_of(tiny_net(2), criterion=_TwoPlayers(("one", "one")))
    with pytest.raises(ConfigError, match="belongs neither"):
        movers_of(tiny_net(2), criterion=_TwoPlayers(stray=[nn.Parameter(torch.zeros(3))]))


def test_a_criterions_frozen_module_is_not_moved():
    criterion = Criterion()
    criterion.teacher = nn.Linear(2, 2).requires_grad_(False)
    assert not any("teacher" in name for name in movers_of(tiny_net(2), criterion=criterion)[0].names.values())


def test_sgd_moves_a_tensor_whose_first_gradient_comes_late_as_plain_sgd_does():
    """The fused kernel fails where some tensors of a group have a momentum and others have none yet."""
    net = tiny_net(2)
    criterion = Criterion()
    criterion.early, criterion.late = (nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    learning = Learning({"net": net}, {"net": tiny_plan(net)})
    (mover,) = build_movers({"net": net}, criterion, learning, Optim(name="sgd", lr=0.1, weight_decay=0), 4)
    mover.set_rates(0, 4)
    for group in mover.optimizer.param_groups:
        group["lr"] = 0.1
    plain = [nn.Parameter(torch.ones(3, 3)) for _ in range(2)]
    judge = torch.optim.SGD(plain, lr=0.1, momentum=0.9, foreach=False)
    for step in range(3):
        for early, late in ((criterion.early, criterion.late), plain):
            early.grad = torch.full((3, 3), 1.0 + step)
            late.grad = torch.full((3, 3), 2.0 + step) if step else None
        mover.optimizer.step()
        judge.step()
    torch.testing.assert_close(criterion.early, plain[0])
    torch.testing.assert_close(criterion.late, plain[1])
    assert not torch.equal(criterion.late, torch.ones(3, 3))
