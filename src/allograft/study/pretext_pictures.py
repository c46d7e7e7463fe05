"""Pretext pictures: what a pretext task does to images, kept as small arrays for the report."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from allograft.contracts import Criterion
from allograft.core.atomic import write_bytes
from allograft.core.seeds import seed_for
from allograft.data.case import Batch
from allograft.nets.modes import evaluating
from allograft.nets.network import Network
from allograft.objectives.pretext import Drawn
from allograft.study.pretext_stage import PICTURES

__all__ = ["PICTURES", "draw_pretext"]

SHOWN = 4
"""Images that are kept (ours)."""


def draw_pretext(
    folder: Path,
    criterion: Criterion,
    nets: Mapping[str, Network],
    batch: Mapping[str, Batch],
    *,
    front_up: bool = False,
) -> None:
    """Write what a criterion shows of held-out images, if it shows anything; of volumes the middle slice.

    The file holds (N, H, W) float32 by what is shown, N <= `SHOWN`, the mean over channels, in the order in which they
    stand side by side. It holds no name of anybody, but a picture shows a patient: reports leave it out on request.

    Args:
        folder: of the stage.
        criterion: of the stage, trained.
        nets: its networks.
        batch: held-out images, on the networks' device.
        front_up: turn slices of volumes so that the front is up and the patient's right on the left.
    """
    if not isinstance(criterion, Drawn):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as looking, torch.random.fork_rng(devices=[]):
        for module in (*nets.values(), criterion):  # a picture must not move running statistics
            looking.enter_context(evaluating(module))
        torch.default_generator.manual_seed(seed_for("pretext pictures"))
        shown = {name: images[:SHOWN].float().mean(1) for name, images in criterion.pictures(nets, batch).items()}
    flat = {name: _slice(x, front_up=front_up) if x.ndim == 4 else x for name, x in shown.items()}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{name: x.cpu().numpy() for name, x in flat.items()})
    write_bytes(folder / PICTURES, file.getvalue())


def _slice(volumes: Tensor, *, front_up: bool) -> Tensor:
    """Return the middle slices (N, H, W) of volumes (N, D, H, W)."""
    found = volumes[:, volumes.shape[1] // 2]
    return found.flip(1, 2) if front_up else found
