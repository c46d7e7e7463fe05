"""A labelled source and a shifted, unlabelled target of synthetic batches: what tests of domain adaptation share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from allograft.contracts import Budget, Criterion, Loss, Optim, Progress
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.supervised import Supervised
from allograft.testing.training import tiny_batch, tiny_plan
from allograft.train.loop import fit
from allograft.train.training import Training
from two_stream_loop import assert_same, tiny

AT, END = Progress(5, 10), Progress(10, 10)
CASES = [(dims, kind) for dims in (2, 3) for kind in ("multiclass", "segmentation")]
EVERY = [(dims, kind) for dims in (2, 3) for kind in ("binary", "multiclass", "multilabel", "segmentation")]


def toy(n: int, d: int, a: float, b: float, *, shift: float = 0, scale: float = 1) -> torch.Tensor:
    """Return the reference's deterministic sample (n, d), float64."""
    i, j = np.arange(n)[:, None], np.arange(d)[None]
    return torch.from_numpy(scale * np.sin(a * (i + 1) + b * (j + 1) + 0.1 * (i + 1) * (j + 1)) + shift)


XS, XT = toy(12, 3, 1.0, 2.0), toy(10, 3, 0.7, 1.3, shift=0.5, scale=1.5)


def domains(dims: int, task: Task, *, step: int = 0, source: int = 6, target: int = 4) -> dict[str, Batch]:
    """Return a source batch, and a target batch of another contrast whose targets are NaN: who reads them shows it."""
    other = tiny_batch(dims, task, size=target, seed=2 * step + 1)
    poison = {name: torch.full_like(value, torch.nan, dtype=torch.float32) for name, value in other.targets.items()}
    shifted = 1.0 - 1.5 * other.image
    return {
        "source": tiny_batch(dims, task, size=source, seed=2 * step),
        "target": replace(other, image=shifted, targets=poison),
    }


def built(objective: Any, net: Network, task: Task) -> Any:
    """Return the criterion, its own modules always with the same values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return objective.build({"net": net}, task)


def loss_of(criterion: Criterion, net: Network, batch: Mapping[str, Batch], at: Progress = END) -> Loss:
    """Return the loss, its random draws always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        return criterion({"net": net}, batch, at, "all")


class Endless:
    """Streams of both domains."""

    def __init__(self, dims: int, task: Task, stop: int | None = None) -> None:
        self.dims, self.task, self.stop = dims, task, stop

    def at(self, step: int) -> Mapping[str, Batch]:
        if step == self.stop:
            raise KeyboardInterrupt
        found = domains(self.dims, self.task, step=step)
        return {**found, "train": found["source"], "unlabelled": found["target"]}


def train(objective: Any, net: Network, task: Task, *, steps: int = 5, lr: float = 0.01, **how: Any) -> Criterion:
    """Train in place through the real loop; `where` and `stop` as the loop takes them."""
    criterion = built(objective, net, task)
    training = Training(
        plans={"net": tiny_plan(net)}, optim=Optim(lr=lr), budget=Budget(steps=steps, evals=1), seed=0, save_every=1
    )
    streams = Endless(net.shape.dims, task, how.get("stop"))
    fit({"net": net}, criterion, streams, training, where=how.get("where"))
    return criterion


def assert_weight_0_is_source_only(objective: Any) -> None:
    """Check every tensor, running statistics included, after training with dropout; another weight differs."""
    for dims, kind in CASES:
        (one, task), (two, _), (three, _) = (tiny(dims, kind, dropout=0.2) for _ in range(3))
        train(objective.model_copy(update={"weight": 0.0}), one, task)
        train(Supervised(), two, task)
        assert_same(one, two)
        train(objective, three, task)
        assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), three.parameters(), strict=True))


def assert_resumes(objective: Any, where: Path) -> None:
    """Check that a training stopped in the middle goes on bit for bit, the criterion's own tensors included."""
    (whole, task), (cut, _), (again, _) = (tiny(2, dropout=0.2) for _ in range(3))
    full = train(objective, whole, task)
    try:
        train(objective, cut, task, where=where, stop=3)
    except KeyboardInterrupt:
        resumed = train(objective, again, task, where=where)
    assert_same(whole, again)
    assert_same(full, resumed)
