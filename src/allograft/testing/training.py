"""Tiny training material: plans by hand, synthetic batches and streams; the same code in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from allograft.core.seeds import seed_for
from allograft.core.task import Kind, Task
from allograft.data.case import Batch
from allograft.nets.network import Network, stage_of
from allograft.weights.plan import Entry, Learns, TransferPlan
from allograft.weights.rules import Action
from allograft.weights.rules import Kind as TensorKind

__all__ = ["TinyStreams", "tiny_batch", "tiny_plan", "tiny_task"]

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def tiny_task(kind: Kind = "multiclass") -> Task:
    """Return a task of three classes (two for binary, one value for regression) on the head "label"."""
    classes = {"binary": ("no", "yes"), "regression": ("value",)}.get(kind, ("a", "b", "c"))
    return Task(kind=kind, classes=classes)


def tiny_plan(net: Network, learns: Mapping[str, Learns] | None = None) -> TransferPlan:
    """Return a plan that leaves every value as it is; `learns` by stage, full where it is not named."""
    stages = net.stages()
    entries = []
    for key, tensor in net.state_dict().items():
        stage = stage_of(key, stages)
        entries.append(
            Entry(
                target=key,
                stage=stage,
                kind=_kind(net, key),
                shape=tuple(tensor.shape),
                action=Action.FRESH,
                learns=(learns or {}).get(stage, ((0, 1.0),)),
                why="synthetic",
            )
        )
    return TransferPlan(start="scratch", entries=tuple(entries))


def tiny_batch(dims: int, task: Task, *, size: int = 8, seed: int = 0, labelled: bool = True) -> Batch:
    """Return a synthetic batch of noise images whose mean tells the class; depends on its arguments only."""
    generator = torch.Generator().manual_seed(seed)
    classes = len(task.classes)
    image = torch.randn((size, 3, *[8] * dims), generator=generator)
    label = torch.randint(classes, (size,), generator=generator)
    image += label.view(-1, *[1] * (dims + 1))
    target = {
        "multilabel": (torch.rand((size, classes), generator=generator) > 0.5).long(),
        "regression": image.flatten(1).mean(1),
        "segmentation": (image[:, 0] > label.view(-1, *[1] * dims)).long() * label.view(-1, *[1] * dims),
    }.get(task.kind, label)
    ids = tuple(f"case-{seed}-{i}" for i in range(size))
    if not labelled:
        return Batch(image=image, ids=ids)
    return Batch(image=image, targets={task.head: target}, present={task.head: torch.ones(size).bool()}, ids=ids)


@dataclass(frozen=True)
class TinyStreams:
    """Endless synthetic batches: a function of seed, stream and step.

    Args:
        dims: 2 or 3.
        task: what is predicted.
        labelled: by stream, whether it carries targets.
        size: cases in a batch.
        seed: of all of them.
    """

    dims: int
    task: Task
    labelled: Mapping[str, bool]
    size: int = 8
    seed: int = 0

    def at(self, step: int) -> Mapping[str, Batch]:
        """Return one batch per stream."""
        return {
            name: tiny_batch(
                self.dims, self.task, size=self.size, seed=seed_for(self.seed, name, step), labelled=labelled
            )
            for name, labelled in self.labelled.items()
        }


def _kind(net: Network, key: str) -> TensorKind:
    """Return what a tensor is, from its name and the layer that holds it."""
    module, _, name = key.rpartition(".")
    if name in STATISTICS:
        return "norm_stat"
    if "norm" in type(net.get_submodule(module)).__name__.lower():
        return "norm_affine"
    return "bias" if name == "bias" else "weight"
