"""Labelled and unlabelled synthetic batches through the real loop: what the tests of two-stream objectives share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from allograft.contracts import Budget, Optim, Progress
from allograft.core.task import Task
from allograft.data.case import Batch, View
from allograft.nets.network import Head, Network
from allograft.objectives.supervised import Supervised
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_batch, tiny_plan, tiny_task
from allograft.train.loop import fit
from allograft.train.training import Training

AT = Progress(5, 10)
SHAPES = [(2, "multiclass"), (3, "segmentation")]


class Dropped(Head):
    """A head behind dropout, so that passes differ by chance."""

    def __init__(self, inner: nn.Module, rate: float) -> None:
        super().__init__()
        self.inner, self.dropout = inner, nn.Dropout(rate)

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        return self.inner(self.dropout(pooled), None if decoded is None else self.dropout(decoded))


def tiny(dims: int, kind: Any = "multiclass", *, dropout: float = 0.0, seed: int = 0) -> tuple[Network, Task]:
    """Return a tiny network and its task."""
    task = tiny_task(kind)
    net = tiny_net(dims, outputs=task.outputs, decoder=kind == "segmentation", seed=seed)
    if dropout:
        net.heads["label"] = Dropped(net.heads["label"], dropout)
    return net, task


def batches(dims: int, task: Task, *, step: int = 0, size: int = 4, other: int = 6) -> dict[str, Batch]:
    """Return a labelled and an unlabelled batch of different sizes, the latter with one view."""
    unlabelled = tiny_batch(dims, task, size=other, seed=2 * step + 1, labelled=False)
    view = View(1.2 * unlabelled.image + 0.1, ({},) * other)
    return {
        "train": tiny_batch(dims, task, size=size, seed=2 * step),
        "unlabelled": replace(unlabelled, views=(view,)),
    }


class TwoEndless:
    """Streams of both."""

    def __init__(self, dims: int, task: Task, stop: int | None = None) -> None:
        self.dims, self.task, self.stop = dims, task, stop

    def at(self, step: int) -> Mapping[str, Batch]:
        if step == self.stop:
            raise KeyboardInterrupt
        return batches(self.dims, self.task, step=step)


def train(
    objective: Any,
    net: Network,
    task: Task,
    *,
    dims: int = 2,
    steps: int = 6,
    where: Path | None = None,
    stop: int | None = None,
    lr: float = 0.01,
) -> Any:
    """Train in place through the real loop; return the criterion."""
    nets = {"net": net}
    criterion = objective.build(nets, task)
    how = Training(
        plans={"net": tiny_plan(net)}, optim=Optim(lr=lr), budget=Budget(steps=steps, evals=1), seed=0, save_every=1
    )
    fit(nets, criterion, TwoEndless(dims, task, stop), how, where=where)
    return criterion


def assert_weight_0_is_supervised(objective: Any, *, dropout: float = 0.2) -> None:
    """Check every tensor, running statistics included, after training through the real loop with dropout."""
    for dims, kind in SHAPES:
        (one, task), (two, _) = (tiny(dims, kind, dropout=dropout) for _ in range(2))
        train(objective.model_copy(update={"weight": 0.0}), one, task, dims=dims)
        train(Supervised(), two, task, dims=dims)
        assert_same(one, two)
        three, _ = tiny(dims, kind, dropout=dropout)
        train(objective.model_copy(update={"weight": 5.0, "ramp": 0.0}), three, task, dims=dims)
        assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), three.parameters(), strict=True))


def assert_resumes(objective: Any, where: Path) -> None:
    """Check that a training stopped in the middle goes on bit for bit, the teacher included."""
    (whole, task), (cut, _), (again, _) = (tiny(2, dropout=0.2) for _ in range(3))
    full = train(objective, whole, task)
    try:
        train(objective, cut, task, where=where, stop=3)
    except KeyboardInterrupt:
        resumed = train(objective, again, task, where=where)
    assert_same(whole, again)
    assert_same(full, resumed)


def assert_same(one: nn.Module, two: nn.Module) -> None:
    """Check that all tensors are equal bit for bit."""
    theirs = two.state_dict()
    for name, value in one.state_dict().items():
        assert torch.equal(value, theirs[name]), name
