"""Pseudo-targets: one network's decisions, written into a batch as targets for another."""

from __future__ import annotations

import torch

from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Output

__all__ = ["decided"]


def decided(out: Output, batch: Batch, task: Task) -> Batch:
    """Return the batch with the most probable classes of `out` as targets; no gradient goes through them.

    Args:
        out: what a network said about the batch.
        batch: its own targets are not read.
        task: multiclass, binary, multilabel or segmentation.
    """
    logits = out.logits[task.head].detach()
    if task.kind in {"multiclass", "segmentation"}:
        target = logits.argmax(dim=1)
    else:
        target = (logits > 0).long()
        target = target[:, 0] if task.kind == "binary" else target
    present = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    return Batch(image=batch.image, targets={task.head: target}, present={task.head: present}, ids=batch.ids)
