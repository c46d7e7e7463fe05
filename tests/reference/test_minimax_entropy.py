"""Minimax entropy: SciPy's entropy, whose gradient goes which way, and that both sides of the game act; synthetic."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import entropy

from allograft.core.errors import ConfigError
from allograft.functional.consistency import log_shares
from allograft.functional.ramps import ganin_ramp
from allograft.nets.spec import Bag, NetSpec
from allograft.objectives.minimax_entropy import MinimaxEntropy
from allograft.objectives.supervised import Supervised
from allograft.testing.training import tiny_task
from two_domain_loop import (
    AT,
    END,
    EVERY,
    assert_resumes,
    assert_weight_0_is_source_only,
    built,
    domains,
    loss_of,
)
from two_stream_loop import tiny


@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_equals_the_tasks_loss_less_scipys_entropy(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    batch = domains(dims, task)
    loss = loss_of(built(MinimaxEntropy(weight=0.3), net, task), net, batch)
    plain = built(Supervised(), net, task)({"net": net}, {"train": batch["source"]}, END, "all")
    logits = net(batch["target"].image).logits["label"].detach()
    if kind in {"multiclass", "segmentation"}:
        p = logits.softmax(1).movedim(1, -1).reshape(-1, 3)
    else:
        p = torch.stack([logits.sigmoid(), 1 - logits.sigmoid()], -1).reshape(-1, 2)
    want = entropy(p.double().numpy(), axis=1).mean()
    assert float(loss.parts["entropy"]) == pytest.approx(want, rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(float(plain.total.detach()) - 0.3 * want, rel=1e-5)


@pytest.mark.parametrize(("dims", "kind"), EVERY)
def test_the_head_ascends_the_entropy_and_what_stands_before_it_descends_it(dims: int, kind: Any) -> None:
    net, task = tiny(dims, kind)
    net, image = net.double(), domains(dims, task)["target"].image.double()
    out = net(image)
    named = {name: p for name, p in net.named_parameters() if kind == "segmentation" or "decoder" not in name}
    total = built(MinimaxEntropy(), net, task).term(net, (out, out), 0.25).total
    got = dict(zip(named, torch.autograd.grad(total, list(named.values()), allow_unused=True), strict=True))
    logs = log_shares(net(image).logits["label"], kind)
    plain = -(logs.exp() * logs).sum(1).mean()
    want = dict(zip(named, torch.autograd.grad(plain, list(named.values()), allow_unused=True), strict=True))
    seen = set()
    for name, gradient in got.items():
        if gradient is None:  # levels that the mask's decoder does not read
            assert want[name] is None
            continue
        sign = -1 if name.startswith("heads.") else 1
        torch.testing.assert_close(gradient, sign * 0.25 * want[name], rtol=1e-8, atol=1e-14)
        if float(gradient.abs().max()) > 1e-9:
            seen.add(name.split(".")[0])
    assert seen == {"encoder", "heads", *(("decoder",) if kind == "segmentation" else ())}


def test_instances_of_a_bag_are_reversed_too() -> None:
    from allograft.catalog import parts
    from allograft.nets.build import build_network

    task = tiny_task()
    spec = NetSpec(encoder="cbr_tiny", width=0.125, pool="attention", bag=Bag(of="tiles", size=16))
    net = build_network(spec, {"label": task}, in_channels=1, seed=0, parts=parts(spec))
    image = torch.randn(2, 1, 32, 32)
    criterion = built(MinimaxEntropy(), net, task)
    net.eval()
    total = criterion.term(net, (net(image),) * 2, 1.0).total
    logs = net(image).logits["label"].log_softmax(1)
    torch.testing.assert_close(total, (logs.exp() * logs).sum(1).mean())
    first, last = net.encoder.unit1.conv.weight, next(net.heads["label"].parameters())
    got = torch.autograd.grad(total, [first, last])
    want = torch.autograd.grad((logs.exp() * logs).sum(1).mean(), [first, last])
    torch.testing.assert_close(got[0], -want[0], rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(got[1], want[1], rtol=1e-3, atol=1e-7)


def test_limits_of_the_weight_and_of_even_answers() -> None:
    assert MinimaxEntropy().weight_at(AT) == 0.1
    assert MinimaxEntropy(gamma=10).weight_at(AT) == pytest.approx(0.1 * ganin_ramp(0.5))
    net, task = tiny(2)
    for parameter in net.heads["label"].parameters():
        torch.nn.init.zeros_(parameter)
    parts = loss_of(built(MinimaxEntropy(), net, task), net, domains(2, task)).parts
    assert float(parts["entropy"]) == pytest.approx(math.log(3))


@pytest.mark.parametrize(("dims", "kind"), [(2, "multiclass"), (3, "segmentation")])
def test_the_mechanism_acts_encoders_alone_make_surer_heads_alone_less_sure(dims: int, kind: Any) -> None:
    for side, sign in (("encoder", -1), ("heads", 1)):
        net, task = tiny(dims, kind)
        criterion, batch = built(MinimaxEntropy(), net, task), domains(dims, task)
        moves = list(getattr(net, side).parameters())
        optimizer, found = torch.optim.Adam(moves, 0.01), []
        for _ in range(15):
            out = net(batch["target"].image)
            term = criterion.term(net, (out, out), 1.0)
            found.append(float(term.parts["entropy"]))
            for parameter, gradient in zip(
                moves, torch.autograd.grad(term.total, moves, allow_unused=True), strict=True
            ):
                parameter.grad = gradient
            optimizer.step()
        assert sign * (found[-1] - found[0]) > 0.005, (side, found[0], found[-1])


def test_the_unlabelled_stream_is_read_from_its_role_and_never_its_targets() -> None:
    streams = MinimaxEntropy(labelled_batch=5).streams()
    assert (streams["source"].role, streams["source"].batch, streams["source"].labelled) == ("train", 5, True)
    assert (streams["target"].role, streams["target"].labelled) == ("unlabelled", False)
    net, task = tiny(2)
    batch = domains(2, task)
    bare = {**batch, "target": type(batch["target"])(image=batch["target"].image, ids=batch["target"].ids)}
    criterion = built(MinimaxEntropy(), net, task)
    assert torch.equal(loss_of(criterion, net, batch).total, loss_of(criterion, net, bare).total)


def test_a_regression_is_refused() -> None:
    net, _ = tiny(2, "regression")
    with pytest.raises(ConfigError, match="regression has none"):
        MinimaxEntropy().build({"net": net}, tiny_task("regression"))


def test_weight_0_is_supervised_training_bit_for_bit() -> None:
    assert_weight_0_is_source_only(MinimaxEntropy())


def test_resumed_training_is_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes(MinimaxEntropy(), tmp_path)
