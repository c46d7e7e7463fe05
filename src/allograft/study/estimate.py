"""Estimate: how long a study takes on this machine, from a few measured training steps."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from allograft import catalog
from allograft.core.config import Config
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.build import build_network
from allograft.nets.modes import evaluating
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.objectives.task_loss import task_loss
from allograft.study.grid import Study
from allograft.train.device import Device

__all__ = ["Estimate", "Load", "Speed", "estimate", "measure"]

START_SECONDS = 4.0
"""Of each worker, once: imports and opening the data (ours, measured)."""

RUN_SECONDS = 1.5
"""Of each run besides steps: building, proving, writing (ours, measured)."""

OPTIMISER = 1.15
"""What moving the weights and feeding batches add to forward and backward (ours, measured)."""

PATIENCE = 1.5
"""Seconds spent measuring one network."""


class Speed(Config):
    """Seconds of one training step, and of one case without gradients."""

    step: float
    case: float


class Load(Config):
    """How much work data make: cases in validation and test of a fold, all cases, folds, windows of a case."""

    judged: int
    cases: int
    folds: int
    shape: tuple[int, ...]
    windows: int = 1


class Estimate(Config):
    """Time of a whole study.

    Args:
        seconds: wall time with `workers` processes.
        workers: processes.
        runs: runs of all recipes.
        per_run: seconds of one run by recipe.
    """

    seconds: float
    workers: int
    runs: int
    per_run: dict[str, float]

    @property
    def words(self) -> str:
        """The time as a person says it."""
        minutes = self.seconds / 60
        if minutes < 1:
            return "under a minute"
        return f"about {minutes:.0f} minutes" if minutes < 100 else f"about {minutes / 60:.1f} hours"


def estimate(
    study: Study,
    task: Task,
    load: Load,
    *,
    workers: int,
    speed: Callable[[NetSpec, Task, tuple[int, ...], int], Speed] | None = None,
) -> Estimate:
    """Return how long a study takes.

    Args:
        study: the study.
        task: what is predicted.
        load: of its data.
        workers: processes that share the machine.
        speed: measures a network; None measures here, a second or two for each different one.
    """
    known: dict[str, Speed] = {}
    per_run = {}
    for recipe in study.recipes:
        key = f"{recipe.net.content_id()}-{recipe.budget.batch}"
        if key not in known:
            known[key] = (speed or measure)(recipe.net, task, load.shape, recipe.budget.batch)
        one, frozen = known[key], recipe.tuning.name == "frozen"
        augment = recipe.augment if recipe.augment is not None else study.augment
        looks = recipe.budget.evals * (2 if len(study.search.lrs) > 1 else 1) + 1
        if frozen and not augment.steps and task.kind != "segmentation":
            per_run[recipe.name] = RUN_SECONDS + one.case * load.cases
        else:
            training = recipe.budget.steps * (one.step if not frozen else one.case * recipe.budget.batch)
            per_run[recipe.name] = RUN_SECONDS + training + looks * one.case * load.judged * load.windows
    cells = len(study.seeds) * load.folds * len(study.label_fractions)
    total = sum(per_run.values()) * cells
    runs = cells * len(study.recipes)
    used = max(1, min(workers, runs))
    rounded = {name: round(seconds, 1) for name, seconds in per_run.items()}
    return Estimate(seconds=START_SECONDS + total / used, workers=used, runs=runs, per_run=rounded)


def measure(spec: NetSpec, task: Task, shape: tuple[int, ...], batch: int, *, threads: int = 1) -> Speed:
    """Train a network of random weights for a moment on random images, as one worker would.

    Args:
        spec: the network.
        task: its head.
        shape: (C, *S) of an image.
        batch: cases in a step.
        threads: of a worker.
    """
    net = build_network(spec, {task.head: task}, in_channels=shape[0], seed=0, parts=catalog.parts(spec))
    device = Device.resolve(threads=threads)
    with device.session() as live:
        target = torch.zeros(batch, dtype=torch.long)
        if task.kind in {"multilabel", "regression"}:
            target = torch.zeros(batch, len(task.classes))
        elif task.kind == "segmentation":
            target = torch.randint(len(task.classes), (batch, *shape[1:]))
        data = Batch(
            image=torch.rand(batch, *shape),
            targets={task.head: target},
            present={task.head: torch.ones(batch, dtype=torch.bool)},
        ).to(live.device)
        net.to(live.device)
        with torch.autocast(live.device.type, dtype=torch.bfloat16, enabled=device.precision == "bf16-mixed"):
            step = OPTIMISER * _seconds(_trainer(net, task, data))
            with evaluating(net):
                case = _seconds(lambda: net(data.image)) / batch
    return Speed(step=step, case=case)


def _trainer(net: Network, task: Task, batch: Batch) -> Callable[[], None]:
    """Return forward and backward; the optimiser's own share is `OPTIMISER`, since only the loop has one."""
    loss = task_loss(task)

    def step() -> None:
        net.zero_grad()
        loss(net(batch.image), batch).total.backward()  # type: ignore[no-untyped-call]

    return step


def _seconds(work: Callable[[], object]) -> float:
    """Return the shortest of a few repeats after one to warm up."""
    work()
    best, begun = float("inf"), time.perf_counter()
    while True:
        before = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - before)
        if time.perf_counter() - begun > PATIENCE / 2:
            return best
