"""Synthetic source and target batches for objectives that change source images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from allograft.contracts import Loss, Progress
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.testing.tiny import tiny_net
from allograft.testing.training import tiny_batch, tiny_task

AT = Progress(5, 10)


def nets_of(dims: int, kind: Any) -> tuple[dict[str, Network], Task]:
    """Return the same tiny network each time, and its task."""
    task = tiny_task(kind)
    return {"net": tiny_net(dims, outputs=task.outputs, decoder=kind == "segmentation")}, task


def batches(dims: int, kind: Any, *, step: int = 0, size: int = 4, other: int = 6) -> dict[str, Batch]:
    """Return labelled source cases, and target images whose values are bent and stretched; 8 elements an axis."""
    task = tiny_task(kind)
    target = tiny_batch(dims, task, size=other, seed=2 * step + 1, labelled=False)
    assert isinstance(target.image, Tensor)
    return {
        "source": tiny_batch(dims, task, size=size, seed=2 * step),
        "target": replace(target, image=2 + 0.5 * target.image.exp().clamp(max=20)),
    }


def loss_of(
    objective: Any,
    nets: dict[str, Network],
    task: Task,
    batch: Mapping[str, Batch],
    *,
    at: Progress = AT,
    image: Tensor | None = None,
) -> Loss:
    """Return the network's loss, in evaluation mode and always with the same draws; `image` in place of the first's."""
    for net in nets.values():
        net.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        criterion = objective.build(nets, task)
        torch.manual_seed(4)
        if image is not None:
            batch = {name: replace(one, image=image) for name, one in batch.items()}
        return criterion(nets, batch, at, criterion.players(nets)[0].name)
