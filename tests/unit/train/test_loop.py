"""The loop obeys the plan, keeps the best weights, stops where it should, and resumes bit for bit. Synthetic data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from loop_material import FROZEN, Adversary, Scores, differing, noisy_net, run, streams, tensors, training
from torch import nn

import allograft
from allograft.core.errors import ConfigError, NumericsError
from allograft.testing.tiny import tiny_net
from allograft.train.callbacks import ProgressCallback, RowLog

# the only step


def test_the_package_has_one_optimizer_step():
    root = Path(allograft.__file__).parent
    found = [
        path.name
        for path in root.rglob("*.py")
        for line in path.read_text().splitlines()
        if "optimizer.step()" in line and "`" not in line
    ]
    assert found == ["loop.py"]


@pytest.mark.parametrize("dims", [2, 3])
def test_loss_falls_on_synthetic_data(dims):
    net = tiny_net(dims, outputs=3)
    history = run(net, training(net, steps=30, evals=3), data=streams(dims))
    assert [row.step for row in history.rows] == [10, 20, 30]
    assert history.rows[-1].train["loss"] < history.rows[0].train["loss"]
    assert history.best_step == history.steps_done == 30
    assert set(history.rows[0].train) == {"loss", "task"}


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop"])
def test_equals_a_plain_pytorch_loop(name):
    # no bias in front of batch norm: its true gradient is 0, and Adam makes steps of its rounding errors
    net, plain = tiny_net(2, outputs=3, bias=False), tiny_net(2, outputs=3, bias=False)
    run(net, training(net, name=name, weight_decay=0.0, schedule="constant", warmup=0.0, clip=0.1))
    kind, own = {
        "adamw": (torch.optim.AdamW, {}),
        "adam": (torch.optim.Adam, {}),
        "sgd": (torch.optim.SGD, {"momentum": 0.9}),
        "rmsprop": (torch.optim.RMSprop, {"alpha": 0.9}),
    }[name]
    optimizer = kind(plain.parameters(), lr=0.01, weight_decay=0.0, **own)
    plain.train()
    for step in range(6):
        batch = streams().at(step)["train"]
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(batch.image).logits["label"], batch.targets["label"]).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.1)
        optimizer.step()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(net.state_dict()[key], value, rtol=1e-4, atol=1e-6)


# what learns


@pytest.mark.parametrize("dims", [2, 3])
def test_frozen_encoder_stays_bit_equal_statistics_included(dims):
    net = tiny_net(dims, outputs=3)
    before = tensors(net)
    learns = {"stem": FROZEN, "stage1": FROZEN, "stage2": FROZEN}
    run(net, training(net, learns), data=streams(dims))
    assert differing(before, net.state_dict()) == {"heads.label.linear.weight", "heads.label.linear.bias"}
    assert all(parameter.grad is None for parameter in net.encoder.parameters())


def test_full_moves_every_tensor():
    net = tiny_net(2, outputs=3)
    before = tensors(net)
    run(net, training(net))
    assert differing(before, net.state_dict()) == set(before)


def test_gradual_unfreezing_starts_at_its_step():
    def after(steps):
        net = tiny_net(2, outputs=3)
        before = tensors(net)
        run(
            net, training(net, {"stem": FROZEN, "stage1": FROZEN, "stage2": ((0, 0.0), (3, 1.0))}, steps=steps, evals=1)
        )
        return differing(before, net.state_dict())

    assert not any("encoder" in name for name in after(3))
    moved = after(4)
    assert {name for name in moved if "encoder" in name} == {n for n in tensors(tiny_net(2)) if "layer2" in n}


def test_freezing_later_keeps_optimiser_and_statistics_still():
    net = tiny_net(2, outputs=3)
    seen = {}

    class Spy:
        def after_step(self, at, loss):
            seen[at.step] = tensors(net)

        def after_row(self, history):
            pass

    run(net, training(net, {"stem": ((0, 1.0), (2, 0.0), (4, 1.0))}), callbacks=[Spy()])
    stem = {name for name in seen[1] if "stem" in name}
    assert differing(seen[1], seen[2]) >= stem
    assert not differing(seen[2], seen[4]) & stem
    assert differing(seen[4], seen[5]) >= stem


def test_dropout_beside_frozen_norm_layers_stays_active():
    net = noisy_net()
    run(net, training(net, {"stem": FROZEN, "stage1": FROZEN, "stage2": FROZEN}, evals=3), validate=Scores())
    assert net.heads["label"].training
    assert not net.encoder.get_submodule("stem").get_submodule("norm").training
    assert net.encoder.get_submodule("stem").get_submodule("conv").training


def test_penalty_is_added_to_the_loss():
    class Pull(nn.Module):
        def forward(self, net):
            return 100 * net.heads["label"].linear.weight.square().sum()

    net, free = tiny_net(2, outputs=3), tiny_net(2, outputs=3)
    history = run(net, training(net, penalties={"net": Pull()}, steps=40))
    run(free, training(free, steps=40))
    assert history.rows[0].train["penalty"] > 0
    assert net.heads["label"].linear.weight.norm() < 0.5 * free.heads["label"].linear.weight.norm()


# players


def test_players_move_in_turn_and_only_their_own():
    net, criterion = tiny_net(2, outputs=3), Adversary()
    before, knob = tensors(net), tensors(criterion.knob)
    history = run(net, training(net, steps=1, evals=1), criterion=criterion)
    assert set(history.rows[0].train) == {"net.loss", "net.value", "knob.loss", "knob.value"}
    assert "heads.label.linear.weight" not in differing(before, net.state_dict())
    # two turns of SGD with momentum on the bias, whose gradient is -1: 0.1, then 0.1 * (1 + 0.9)
    lr = history.rows[0].lr / 0.01 * 0.1
    torch.testing.assert_close(criterion.knob.bias - knob["bias"], torch.tensor([lr * 2.9]), rtol=1e-4, atol=1e-6)
    assert criterion.calls == 1


# validation


def test_best_weights_are_restored_and_a_tie_keeps_the_earlier():
    net, shorter = tiny_net(2, outputs=3), tiny_net(2, outputs=3)
    history = run(
        net, training(net, steps=8, evals=4, schedule="constant", warmup=0), validate=Scores([0.1, 0.9, 0.9, 0.5])
    )
    run(shorter, training(shorter, steps=4, evals=1, schedule="constant", warmup=0))
    assert (history.best_step, history.steps_done) == (4, 8)
    assert not differing(net.state_dict(), shorter.state_dict())


def test_patience_stops_early():
    net = tiny_net(2, outputs=3)
    history = run(net, training(net, steps=10, evals=10, patience=2), validate=Scores([0.1, 0.9, 0.5, 0.5, 1.0]))
    assert (history.stopped_early, history.steps_done, history.best_step) == (True, 4, 2)


def test_validations_are_spread_evenly_and_the_last_step_counts():
    net = tiny_net(2)
    assert sorted(training(net, steps=10, evals=3).eval_steps()) == [4, 7, 10]
    assert sorted(training(net, steps=3, evals=10).eval_steps()) == [1, 2, 3]


@pytest.mark.parametrize(("values", "error"), [({"auroc": 1.0}, ConfigError), ({"score": float("nan")}, NumericsError)])
def test_a_validation_without_a_usable_score_is_refused(values, error):
    net = tiny_net(2, outputs=3)
    with pytest.raises(error, match="score"):
        run(net, training(net), validate=lambda net: values)


def test_a_careless_validation_changes_nothing():
    one, two = noisy_net(), noisy_net()
    run(one, training(one, evals=6, steps=6), validate=Scores([0, 1, 2, 3, 4, 5]))
    careless = Scores()
    scores = iter([0, 1, 2, 3, 4, 5])
    run(two, training(two, evals=6, steps=6), validate=lambda net: {**careless(net), "score": next(scores)})
    assert not differing(one.state_dict(), two.state_dict())


# numbers that are not


def test_non_finite_loss_names_step_parts_and_cases(tmp_path):
    class Poisoned:
        def at(self, step):
            found = dict(streams().at(step))
            if step == 2:
                found["train"].image[5] = float("inf")
            return found

    net = tiny_net(2, outputs=3)
    ids = streams().at(2)["train"].ids
    with pytest.raises(NumericsError, match=r"step 2 of 6.*not finite.*task = nan") as caught:
        run(net, training(net), data=Poisoned(), where=tmp_path)
    assert ids[5] in str(caught.value)
    aside = json.loads((tmp_path / "not-finite-step-2.json").read_text())
    assert (aside["step"], aside["ids"]["train"]) == (2, list(ids))


# watching


def test_callbacks_watch(tmp_path):
    told = []
    net = tiny_net(2, outputs=3)
    log = RowLog(tmp_path / "rows.jsonl")
    tell = ProgressCallback(lambda at, loss: told.append((at.step, at.total)), every=4)
    history = run(net, training(net), callbacks=[log, tell])
    rows = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert rows == [row.model_dump() for row in history.rows]
    assert told == [(4, 6), (6, 6)]
