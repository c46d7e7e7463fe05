"""Stopping: training that is stopped and continued equals training that is not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from allograft.contracts import Budget, Criterion, Optim
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.testing.training import tiny_plan
from allograft.train.loop import fit
from allograft.train.training import Training

__all__ = ["check_continues"]

STOP, STEPS = 3, 5

Made = Callable[[], tuple[dict[str, Network], Criterion]]
Batches = Callable[[int], Mapping[str, Batch]]


def check_continues(made: Made, batches: Batches) -> None:
    """Check that training that is stopped and continued equals training that is not, bit for bit.

    Args:
        made: returns networks and criterion with the same values each time.
        batches: of a step.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = _train(made, _Streams(batches), None)
        _train(made, _Streams(batches, STOP), Path(folder))
        again = _train(made, _Streams(batches), Path(folder))
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), f"{name} differs after a stop at step {STOP} and a restart"


def _train(made: Made, streams: _Streams, where: Path | None) -> dict[str, Tensor]:
    """Return the tensors of "net" and criterion after the steps, or at the stop."""
    nets, criterion = made()
    training = Training(
        plans={name: tiny_plan(net) for name, net in nets.items()},
        optim=Optim(),
        budget=Budget(steps=STEPS, evals=1),
        seed=0,
        save_every=1,
    )
    try:
        fit(nets, criterion, streams, training, where=where)
    except _StoppedError:
        assert streams.stop is not None, "stopped without being told to"
    return {**nets["net"].state_dict(), **{f"criterion.{k}": v for k, v in criterion.state_dict().items()}}


class _StoppedError(Exception):
    """Stands for a killed process."""


@dataclass(frozen=True)
class _Streams:
    """Batches that end the run at a step."""

    batches: Batches
    stop: int | None = None

    def at(self, step: int) -> Mapping[str, Batch]:
        if step == self.stop:
            raise _StoppedError
        return self.batches(step)
