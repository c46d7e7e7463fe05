"""Material of the co-training tests: tiny networks, synthetic batches, and a short training through the real loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from allograft.contracts import Budget, Criterion, Loss, Objective, Optim, Progress
from allograft.core.task import Kind, Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.testing.tiny import tiny_net
from allograft.testing.training import TinyStreams, tiny_batch, tiny_plan, tiny_task
from allograft.train.loop import fit
from allograft.train.training import Training

SPEC = NetSpec(encoder="tiny")
END = Progress(10, 10)
"""Where every ramp is at its top."""


def networks(dims: int, kind: Kind, *names: str) -> dict[str, Network]:
    """Return tiny networks "net" and `names`, each with values of its own."""
    nets = {}
    for seed, name in enumerate(("net", *names)):
        nets[name] = tiny_net(dims, seed=seed, outputs=tiny_task(kind).outputs, decoder=kind == "segmentation")
        nets[name].tasks = {"label": tiny_task(kind)}
    return nets


def batches(dims: int, kind: Kind) -> dict[str, Batch]:
    """Return a labelled and an unlabelled synthetic batch."""
    task = tiny_task(kind)
    return {"train": tiny_batch(dims, task, seed=1), "unlabelled": tiny_batch(dims, task, seed=2, labelled=False)}


def built(objective: Objective, nets: Mapping[str, Network], task: Task) -> Criterion:
    """Return the criterion, its own modules always with the same values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return objective.build(nets, task)


def loss_of(criterion: Criterion, nets: Mapping[str, Network], batch: Mapping[str, Batch], **how: Any) -> Loss:
    """Return the loss of a player at the end of training, its random draws always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        return criterion(nets, batch, how.get("at", END), how.get("player", "all"))


def trained(objective: Objective, nets: Mapping[str, Network], kind: Kind, steps: int = 4) -> dict[str, Tensor]:
    """Train for some steps on synthetic streams and return the tensors of "net"."""
    criterion = built(objective, nets, tiny_task(kind))
    streams = TinyStreams(nets["net"].shape.dims, tiny_task(kind), {"train": True, "unlabelled": False})
    plans = {name: tiny_plan(net) for name, net in nets.items()}
    training = Training(plans=plans, optim=Optim(lr=0.01), budget=Budget(steps=steps, evals=1), seed=0)
    fit(nets, criterion, streams, training)
    return nets["net"].state_dict()


def assert_is_supervised(objective: Objective, dims: int, kind: Kind, supervised: Objective) -> None:
    """Assert that training with the objective leaves exactly what supervised training leaves."""
    partners = sorted(objective.partners(SPEC)) if hasattr(objective, "partners") else []
    one = trained(objective, networks(dims, kind, *partners), kind)
    two = trained(supervised, networks(dims, kind), kind)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def differs(objective: Objective, dims: int, kind: Kind, supervised: Objective) -> bool:
    """Tell whether training with the objective leaves anything else than supervised training leaves."""
    try:
        assert_is_supervised(objective, dims, kind, supervised)
    except AssertionError:
        return True
    return False
