"""Device: where training runs, in which precision, with how many threads and processes.

The only file that knows Lightning Fabric. A `Device` is resolved when a study is created, stored
with it and handed to every run: other threads or another precision give other last bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any, Literal, Self, TypeVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Loss
from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.data.case import Batch, View
from allograft.train.precision import fastest_on_cpu
from allograft.train.step import Turn

__all__ = ["Device", "Live", "processors", "share_of"]

Precision = Literal["32-true", "bf16-mixed"]
T = TypeVar("T")
determinism: Any = torch.utils.deterministic  # its attributes are properties that type checkers do not see


class Device(Config):
    """Resolved choice of hardware and arithmetic.

    Args:
        accelerator: "cpu" or "cuda".
        devices: processes, each with its own device; above 1 they are started by torchrun.
        precision: "32-true" or "bf16-mixed".
        threads: CPU threads for arithmetic, >= 1.
        deterministic: ask PyTorch for deterministic algorithms; on CUDA some 3-D layers have none,
            which PyTorch then warns of.
    """

    accelerator: Literal["cpu", "cuda"] = "cpu"
    devices: int = Field(default=1, ge=1)
    precision: Precision = "32-true"
    threads: int = Field(default=1, ge=1)
    deterministic: bool = True

    @classmethod
    def resolve(
        cls,
        accelerator: Literal["auto", "cpu", "cuda"] = "auto",
        devices: int = 1,
        precision: Literal["auto", "32-true", "bf16-mixed"] = "auto",
        threads: int | None = None,
    ) -> Self:
        """Return the device with every "auto" settled on this machine.

        Args:
            accelerator: "auto" takes CUDA where there is one.
            devices: processes.
            precision: "auto" takes bf16 on CUDA devices that have it, and on CPUs where it is measured
                to be faster (once; the result is kept in `core.private.home()`/device.json).
            threads: None takes all that PyTorch would use.

        Raises:
            ConfigError: CUDA is asked for and not there.
        """
        cuda = torch.cuda.is_available()
        if accelerator == "cuda" and not cuda:
            msg = 'device: accelerator "cuda" is asked for, but PyTorch finds no CUDA device. Use "cpu" or "auto".'
            raise ConfigError(msg)
        where: Literal["cpu", "cuda"] = "cuda" if cuda and accelerator != "cpu" else "cpu"
        count = threads or torch.get_num_threads()
        if precision == "auto" and where == "cuda":
            precision = "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
        settled: Precision = fastest_on_cpu(count) if precision == "auto" else precision
        return cls(accelerator=where, devices=devices, precision=settled, threads=count)

    @property
    def leads(self) -> bool:
        """Whether this process is the first of its training, the one that writes files."""
        return self.devices == 1 or int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0

    def require_started(self) -> None:
        """Refuse to train in as many processes as were started where each would take itself for the only one.

        Raises:
            ConfigError: a launcher (torchrun) started another number of processes than `devices`.
        """
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started != self.devices and started > 1:
            msg = f"device: {started} processes were started for {self.devices} devices. Say --devices {started}."
            raise ConfigError(msg)

    @contextmanager
    def session(self) -> Iterator[Live]:
        """Yield the live device; threads and deterministic flags hold inside and are restored after."""
        threads = torch.get_num_threads()
        strict, warn = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        fill, benchmark = determinism.fill_uninitialized_memory, torch.backends.cudnn.benchmark
        try:
            torch.set_num_threads(self.threads)
            if self.deterministic:
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                torch.use_deterministic_algorithms(True, warn_only=self.accelerator == "cuda")
                determinism.fill_uninitialized_memory = False  # costs time, changes no result
                torch.backends.cudnn.benchmark = False
            yield Live(self)
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict, warn_only=warn)
            determinism.fill_uninitialized_memory = fill
            torch.backends.cudnn.benchmark = benchmark


class Live:
    """A device in use.

    One process in full precision needs no wrapper and pays for none; otherwise Fabric does the work.

    Args:
        spec: the resolved device.

    Raises:
        ConfigError: several processes are asked for, but this one was not started as one of them.
    """

    def __init__(self, spec: Device) -> None:
        self.spec = spec
        self.fabric: Any = None if spec.devices == 1 and spec.precision == "32-true" else _fabric(spec)
        self.device: torch.device = torch.device(spec.accelerator) if self.fabric is None else self.fabric.device
        self.rank: int = 0 if self.fabric is None else self.fabric.global_rank
        self.world: int = 1 if self.fabric is None else self.fabric.world_size

    def wrap(self, module: nn.Module) -> Callable[[Turn], Loss]:
        """Move `module` to the device; return how to call it so that gradients are shared."""
        module.to(self.device)
        return module if self.fabric is None else cast("Callable[[Turn], Loss]", self.fabric.setup_module(module))

    def seed(self, number: int) -> None:
        """Seed the generators that a step draws from.

        `torch.manual_seed` would also queue a call, with a stack trace, for every accelerator that
        PyTorch was built for: most of a small network's step.
        """
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)

    def backward(self, total: Tensor) -> None:
        """Compute gradients, averaged over processes."""
        if self.fabric is None:
            total.backward()  # type: ignore[no-untyped-call]
        else:
            self.fabric.backward(total)

    @property
    def spare(self) -> bool:
        """Whether a processor is free beside those that compute the step."""
        return self.device.type != "cpu" or processors() > self.spec.devices * self.spec.threads

    def place(self, batch: Mapping[str, Batch]) -> Mapping[str, Batch]:
        """Return each stream's batch on the device."""
        if self.device.type != "cpu":
            batch = {name: part.to(self.device) for name, part in batch.items()}
        return batch

    def all_true(self, *, here: bool) -> bool:
        """Tell whether `here` holds in every process."""
        if self.world == 1:
            return here
        count = self.fabric.all_reduce(torch.tensor(float(here), device=self.device), reduce_op="sum")
        return bool(count.item() == self.world)

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what the first process makes; the others wait for it."""
        if self.world == 1:
            return make()
        return cast("T", self.fabric.broadcast(make() if self.rank == 0 else None))

    def rng_devices(self) -> list[torch.device]:
        """Return the devices, besides the CPU, whose random state a run uses."""
        return [] if self.device.type == "cpu" else [self.device]


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of(batch: Batch, rank: int, world: int) -> Batch:
    """Return the `rank`-th of `world` equal shares of a batch.

    The mean of the shares' mean losses is the whole batch's where every share has as many labelled
    cases (or as much weight).

    Raises:
        ConfigError: the batch cannot be shared equally, or holds bags.
    """
    size = len(batch.image) if isinstance(batch.image, Tensor) else len(batch.image[0])
    if size % world or batch.bag_index is not None:
        what = "bags" if batch.bag_index is not None else f"{size} cases"
        msg = f"a batch of {what} cannot be shared equally by {world} processes. Choose a multiple, or one process."
        raise ConfigError(msg)
    part = slice(rank * size // world, (rank + 1) * size // world)
    weight = batch.weight
    return replace(
        batch,
        image=batch.image[part] if isinstance(batch.image, Tensor) else tuple(level[part] for level in batch.image),
        targets={name: value[part] for name, value in batch.targets.items()},
        present={name: value[part] for name, value in batch.present.items()},
        weight=None if weight is None else weight[part],
        spacing=None if batch.spacing is None else batch.spacing[part],
        views=tuple(View(view.image[part], view.draws[part]) for view in batch.views),
        ids=batch.ids[part],
        groups=batch.groups[part],
    )


@cache
def _fabric(spec: Device) -> Any:
    """Return a launched Fabric, the same one each time: processes are connected once."""
    if spec.devices > 1 and "LOCAL_RANK" not in os.environ:
        msg = (
            f"device: {spec.devices} processes are asked for, but this process was not started as one of them. "
            f"Start it with: torchrun --nproc-per-node {spec.devices} ..."
        )
        raise ConfigError(msg)
    from lightning_fabric import Fabric  # 2 s to import; not needed by one process in full precision
    from lightning_fabric.strategies.ddp import DDPStrategy

    # A player's loss, or a stage that is still frozen, leaves some parameters without gradient.
    patient = timedelta(hours=12)  # the others wait while the first prepares images or looks at held-out ones
    strategy = DDPStrategy(find_unused_parameters=True, timeout=patient) if spec.devices > 1 else "auto"
    fabric = Fabric(
        accelerator=spec.accelerator, devices=spec.devices, precision=cast("Any", spec.precision), strategy=strategy
    )
    fabric.launch()
    return fabric
