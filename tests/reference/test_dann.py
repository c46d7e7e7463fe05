"""DANN: worked schedules, the game written out by hand, and sign and size of the reversed gradient; synthetic data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from allograft.contracts import Optim, Progress
from allograft.functional.domain_loss import told_apart
from allograft.functional.grl import reverse_gradient
from allograft.functional.ramps import ganin_ramp
from allograft.nets.discriminator import RowCritic
from allograft.objectives.aligned_features import rows
from allograft.objectives.dann import DANN
from allograft.objectives.supervised import Supervised
from allograft.train.optim import lr_at
from two_domain_loop import (
    AT,
    END,
    EVERY,
    assert_resumes,
    assert_weight_0_is_source_only,
    built,
    domains,
    loss_of,
    train,
)
from two_stream_loop import tiny

SMALL = DANN(hidden=8)
RATE = Optim(name="sgd", lr=0.01, warmup=0, schedule="inverse")
WORKED = [(0.1, 0.462117, 0.005946), (0.25, 0.848284, 0.003908), (0.5, 0.986614, 0.002608), (1.0, 0.999909, 0.001656)]


@pytest.mark.parametrize(("p", "factor", "rate"), WORKED)
def test_worked_values_of_both_schedules(p: float, factor: float, rate: float) -> None:
    assert ganin_ramp(p) == pytest.approx(factor, abs=5e-7)
    assert DANN().weight_at(Progress(round(100 * p), 100)) == pytest.approx(factor, abs=5e-7)
    assert lr_at(RATE, round(100 * p), 100) == pytest.approx(rate, abs=5e-7)


def test_limits_of_the_schedule() -> None:
    assert DANN(weight=0.3).weight_at(Progress(0, 10)) == 0
    assert DANN(weight=0.3, gamma=0).weight_at(Progress(0, 10)) == 0.3
    assert DANN(weight=0.3, ramp=0).weight_at(Progress(0, 10)) == 0.3
    halfway = DANN(ramp=0.5)
    assert halfway.weight_at(Progress(3, 6)) == halfway.weight_at(Progress(5, 6)) == pytest.approx(ganin_ramp(1.0))
    assert lr_at(RATE, 0, 100) == 0.01
    warm = RATE.model_copy(update={"warmup": 0.5})
    assert lr_at(warm, 50, 100) == 0.01
    assert lr_at(warm, 75, 100) == pytest.approx(0.002608, abs=5e-7)


def test_numerical_gradient_through_the_reversal_has_opposite_sign_and_factor_lambda() -> None:
    x = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64, requires_grad=True)

    def f(at: torch.Tensor) -> torch.Tensor:
        return (reverse_gradient(at, 0.7).sin() * torch.tensor([1.0, 2.0, 3.0])).sum()

    f(x).backward()
    with torch.no_grad():
        steps = 1e-6 * torch.eye(3, dtype=torch.float64)
        numeric = torch.stack([(f(x + step) - f(x - step)) / 2e-6 for step in steps])
    assert torch.equal(reverse_gradient(x, 0.7), x)
    torch.testing.assert_close(x.grad, -0.7 * numeric, rtol=1e-8, atol=0)


def test_critics_loss_is_pytorchs_with_each_domain_counting_half() -> None:
    source, target = torch.randn(5), torch.randn(3)
    told = told_apart(source, target)
    bce = F.binary_cross_entropy_with_logits
    want = 0.5 * bce(source, torch.zeros(5)) + 0.5 * bce(target, torch.ones(3))
    torch.testing.assert_close(told.loss, want)
    assert float(told.accuracy) == pytest.approx(0.5 * float((source < 0).float().mean() + (target > 0).float().mean()))
    weights = torch.rand(5), torch.rand(3)
    found = told_apart(source, target, weights).loss
    want = 0.5 * bce(source, torch.zeros(5), weights[0], reduction="sum") / weights[0].sum()
    want = want + 0.5 * bce(target, torch.ones(3), weights[1], reduction="sum") / weights[1].sum()
    torch.testing.assert_close(found, want)


def positions(x: torch.Tensor) -> torch.Tensor:
    """Return (B * positions, F), by loops."""
    return torch.stack([case.flatten(1)[:, k] for case in x for k in range(case[0].numel())])


@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_equals_the_game_written_out_by_hand(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    batch, criterion = domains(dims, task), built(SMALL, net, task)
    loss = loss_of(criterion, net, batch, AT)
    source, target = net(batch["source"].image), net(batch["target"].image)
    first, _, second, _, last = criterion.critic.layers

    def says(out: Any) -> torch.Tensor:
        x = positions(out.levels[-1]) if kind == "segmentation" else out.pooled
        hidden = (x @ first.weight.T + first.bias).relu()
        return ((hidden @ second.weight.T + second.bias).relu() @ last.weight.T + last.bias)[:, 0]

    s, t = says(source), says(target)
    domain = 0.5 * (1 + s.exp()).log().mean() + 0.5 * (1 + (-t).exp()).log().mean()
    plain = built(Supervised(), net, task)({"net": net}, {"train": batch["source"]}, AT, "all")
    torch.testing.assert_close(loss.total, plain.total + domain)
    assert float(loss.parts["domain"]) == pytest.approx(float(domain.detach()), rel=1e-5)
    assert float(loss.parts["domain_weight"]) == pytest.approx(2 / (1 + math.exp(-5)) - 1)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_adversarial_gradient_on_the_encoder_is_minus_lambda_times_the_unreversed(
    dims: int, kind: Any, joint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, task = tiny(dims, kind)
    net, batch = net.double(), domains(dims, task)
    objective = SMALL.model_copy(update={"weight": 0.6, "joint_norm": joint})
    criterion = built(objective, net, task).double()
    images = [batch[name].image.double() for name in ("source", "target")]

    def gradients() -> dict[str, torch.Tensor]:
        both = net(torch.cat(images)) if joint else None
        outs = (net(images[0]), net(images[1]))
        if both is not None:
            n = len(images[0])
            outs = tuple(
                both._replace(levels=tuple(x[part] for x in both.levels), pooled=both.pooled[part])
                for part in (slice(n), slice(n, None))
            )
        total = criterion.term(net, outs, objective.weight_at(AT)).total
        named = {**dict(net.encoder.named_parameters()), **dict(criterion.named_parameters(prefix="critic"))}
        return dict(zip(named, torch.autograd.grad(total, list(named.values())), strict=True))

    reversed_ = gradients()
    monkeypatch.setattr("allograft.objectives.dann.reverse_gradient", lambda x, factor: x)
    plain, factor = gradients(), 0.6 * ganin_ramp(0.5)
    assert any(name.startswith("critic") for name in plain)
    for name, found in reversed_.items():
        want = plain[name] if name.startswith("critic") else -factor * plain[name]
        torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-14)
    for module in ("stem.conv.weight", "layer2.conv.weight"):
        assert float(reversed_[module].abs().max()) > 1e-6, "the critic does not reach the encoder"


@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_a_whole_step_adds_the_reversed_gradient_to_the_tasks(dims: int, kind: Any) -> None:
    """The same through `forward`: gradients of the encoder are affine in lambda, by passes of the criterion alone."""
    net, task = tiny(dims, kind)
    net, batch = net.double(), domains(dims, task)
    batch = {name: type(part)(**{**vars_of(part), "image": part.image.double()}) for name, part in batch.items()}
    found = []
    for weight in (1e-12, 0.5, 1.0):
        criterion = built(SMALL.model_copy(update={"weight": weight, "gamma": 0.0}), net, task).double()
        total = criterion({"net": net}, batch, END, "all").total
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, list(net.encoder.parameters()))]))
    none, half, whole = found
    torch.testing.assert_close(whole - none, 2 * (half - none), rtol=1e-6, atol=1e-10)
    assert float((whole - none).abs().max()) > 1e-6


def vars_of(part: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part.__dataclass_fields__}


def test_rows_of_a_level_are_cases_and_positions() -> None:
    x = torch.randn(3, 5, 2, 4)
    torch.testing.assert_close(rows(x, 8), positions(x))
    torch.manual_seed(0)
    some = rows(x, 3)
    assert some.shape == (9, 5)
    where = [int((x[0].flatten(1).T - row).square().sum(1).argmin()) for row in some[:3]]
    assert len(set(where)) == 3, "positions are drawn without repetition"
    torch.testing.assert_close(some[3:6], x[1].flatten(1).T[where], msg="the same of every case")
    assert rows(x[:, :, 0, 0], 1).shape == (3, 5)


def test_target_targets_change_nothing() -> None:
    for dims, kind in EVERY:
        net, task = tiny(dims, kind)
        batch = domains(dims, task)
        bare = {**batch, "target": type(batch["target"])(image=batch["target"].image, ids=batch["target"].ids)}
        criterion = built(SMALL, net, task)
        assert torch.equal(loss_of(criterion, net, batch).total, loss_of(criterion, net, bare).total)


def test_the_mechanism_acts_a_critic_of_separable_features_beats_chance_and_of_equal_ones_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    for apart, least, most in ((3.0, 0.9, 1.0), (0.0, 0.3, 0.7)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            critic = RowCritic(4, 16)
        optimizer = torch.optim.Adam(critic.parameters(), 0.01)
        for _ in range(100):
            source, target = (torch.randn(32, 4, generator=generator) + shift for shift in (0.0, apart))
            optimizer.zero_grad()
            told_apart(critic(source), critic(target)).loss.backward()
            optimizer.step()
        source, target = (torch.randn(500, 4, generator=generator) + shift for shift in (0.0, apart))
        assert least <= float(told_apart(critic(source), critic(target)).accuracy) <= most


def test_the_mechanism_acts_in_the_loop_the_encoder_makes_the_critics_life_harder() -> None:
    """Domains that differ plainly: where lambda is nearly 0 the critic tells them apart, at 1 it guesses."""
    found = {}
    for weight in (1e-9, 1.0):
        net, task = tiny(2)
        objective = DANN(hidden=16, weight=weight, gamma=0, joint_norm=True)
        criterion = train(objective, net, task, steps=80, lr=0.02)
        found[weight] = loss_of(criterion, net, domains(2, task, step=99, source=32, target=32)).parts
    assert float(found[1e-9]["domain_accuracy"]) > 0.75  # measured: 0.86, and 0.50 with lambda 1
    assert float(found[1.0]["domain_accuracy"]) < 0.65
    assert float(found[1.0]["domain"]) > float(found[1e-9]["domain"]) + 0.1


def test_weight_0_is_source_only_training_bit_for_bit() -> None:
    assert_weight_0_is_source_only(SMALL)


def test_resumed_training_is_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes(SMALL, tmp_path)
