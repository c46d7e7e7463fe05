"""Synthetic material for methods that compare two looks at an image: images, a tiny network, a few steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from allograft.contracts import Criterion, Progress
from allograft.core.task import Task
from allograft.data.case import Batch, View
from allograft.nets.network import Network
from allograft.testing.tiny import tiny_net

AT, TASK = Progress(5, 10), Task(kind="binary", classes=("no", "yes"))


def two_looks(count: int, dims: int, *, seed: int = 0, apart: float = 0.1) -> Batch:
    """Return noise images and noisy copies of them, two of each patient."""
    made = torch.Generator().manual_seed(seed)
    first = torch.randn(count, 3, *[8] * dims, generator=made)
    second = first + apart * torch.randn(first.shape, generator=made)
    return Batch(image=first, views=(View(second, ()),), groups=tuple(f"p{i // 2}" for i in range(count)))


def rows(count: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return two sets of outputs (count, width) in double precision."""
    made = torch.Generator().manual_seed(seed)
    one, two = (torch.randn(count, width, generator=made, dtype=torch.float64) for _ in range(2))
    return one, two


def built(objective: Any, dims: int, seed: int = 0) -> tuple[dict[str, Network], Criterion]:
    """Return a tiny network and the criterion, always the same."""
    nets = {"net": tiny_net(dims)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nets, objective.build(nets, TASK)


def taught(
    nets: Mapping[str, Network], criterion: Criterion, batch: Mapping[str, Batch], steps: int, lr: float = 0.01
) -> list[float]:
    """Train on one batch, check that each step's gradient reaches the encoder, and return the losses."""
    (player,) = criterion.players(nets)
    rate = torch.optim.Adam([p for p in player.parameters if p.requires_grad], lr)
    losses = []
    for step in range(steps):
        at = Progress(step, steps)
        loss = criterion(nets, batch, at, player.name).total
        rate.zero_grad()
        loss.backward()
        assert any(bool(p.grad.any()) for p in nets["net"].encoder.parameters() if p.grad is not None)
        rate.step()
        criterion.after_step(nets, at)
        losses.append(float(loss.detach()))
    return losses
