"""All processes: rows that several training processes hold, as if one held them all."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

__all__ = ["of_all_processes"]


def of_all_processes(rows: Tensor) -> Tensor:
    """Return the rows (B, ...) of every process, (W B, ...), in the order of the processes; alone, the rows themselves.

    Losses that compare images need it: where every process makes the loss of all rows and gradients are averaged over
    processes, as this package does, the gradient is that of one process with the whole batch. For that the gradient of
    the own rows counts W times; the others' are constants here and live in their own process.

    Every process must call it, with as many rows: not in a validation, which the first process does alone.

    >>> of_all_processes(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    world = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    if world == 1:
        return rows
    still = rows.detach().contiguous()
    parts = [torch.empty_like(still) for _ in range(world)]
    distributed.all_gather(parts, still)
    if rows.requires_grad:
        parts[distributed.get_rank()] = still + (rows - still) * world
    return torch.cat(parts)
