"""Multi-head co-training: single losses averaged, heads that keep to themselves, an encoder that learns from all."""

from __future__ import annotations

import pytest
import torch

from allograft.contracts import Budget, Optim, Progress
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.nets.build import Parts, build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.objectives.multi_head import MultiHead
from allograft.objectives.task_loss import task_loss
from allograft.testing.encoders import tiny_encoder
from allograft.testing.training import tiny_batch, tiny_plan
from allograft.train.loop import fit
from allograft.train.training import Training

AT = Progress(0, 10)
TASKS = {
    "chest": Task(kind="multiclass", classes=("a", "b", "c"), head="chest"),
    "hand": Task(kind="binary", classes=("no", "yes"), head="hand"),
}


def network(dims: int) -> Network:
    spec = NetSpec(encoder="tiny", dims=3 if dims == 3 else 2)
    return build_network(spec, TASKS, in_channels=3, seed=0, parts=Parts(tiny_encoder))


def batches(dims: int, step: int = 0) -> dict:
    return {name: tiny_batch(dims, task, seed=2 * step + i) for i, (name, task) in enumerate(TASKS.items())}


def criterion(net: Network, *heads: str):
    task = TASKS["chest"]
    return MultiHead(heads=heads or tuple(TASKS)).build({"net": net}, task)


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_mean_of_the_single_losses(dims: int) -> None:
    net, batch = network(dims), batches(dims)
    found = criterion(net)({"net": net}, batch, AT, "all").total
    single = [task_loss(TASKS[name])(net(batch[name].image), batch[name]).total for name in TASKS]
    torch.testing.assert_close(found, (single[0] + single[1]) / 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_one_data_set_gives_other_heads_no_gradient_and_the_encoder_some(dims: int) -> None:
    net, batch = network(dims), batches(dims)
    criterion(net, "chest")({"net": net}, batch, AT, "all").total.backward()
    moved = {name: p.grad is not None and bool(p.grad.any()) for name, p in net.named_parameters()}
    assert not any(on for name, on in moved.items() if name.startswith("heads.hand"))
    assert any(on for name, on in moved.items() if name.startswith("heads.chest"))
    assert any(on for name, on in moved.items() if name.startswith("encoder"))


def test_labels_of_one_set_are_no_background_of_another() -> None:
    """Targets that a set does not have are never read: its batch holds its own head's alone."""
    net, batch = network(2), batches(2)
    assert set(batch["chest"].targets) == {"chest"}
    both = criterion(net)({"net": net}, batch, AT, "all")
    assert set(both.parts) == {"chest", "hand"}


class Endless:
    def at(self, step: int) -> dict:
        return batches(2, step)


def test_the_mechanism_acts_an_encoder_trained_on_two_sets_solves_both() -> None:
    net = network(2)
    training = Training(plans={"net": tiny_plan(net)}, optim=Optim(lr=0.02), budget=Budget(steps=120, evals=1), seed=0)
    fit({"net": net}, criterion(net), Endless(), training)
    net.eval()
    for name, chance in (("chest", 1 / 3), ("hand", 1 / 2)):
        batch = tiny_batch(2, TASKS[name], size=96, seed=999)
        out = net(batch.image).logits[name].detach()
        guess = (out[:, 0] > 0).long() if name == "hand" else out.argmax(1)
        assert (guess == batch.targets[name]).float().mean() > chance + 0.2, name


def test_heads_that_the_network_lacks_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="chest, hand"):
        criterion(network(2), "foot")
    with pytest.raises(ConfigError, match="names none"):
        MultiHead().build({"net": network(2)}, TASKS["hand"])
