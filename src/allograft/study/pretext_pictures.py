"""Pretext pictures: what a pretext task does to images, kept as small arrays for the report."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from allograft.contracts import Criterion
from allograft.core.atomic import write_bytes
from allograft.core.seeds import seed_for
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.pretext import Drawn

__all__ = ["PICTURES", "draw_pretext"]

PICTURES = "pretext.npz"
SHOWN = 4
"""Images that are shown (ours)."""


def draw_pretext(folder: Path, criterion: Criterion, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> None:
    """Write what a criterion shows of held-out images, if it shows anything; of volumes the middle slice.

    The file holds (N, H, W) float32 by what is shown, N <= `SHOWN`, the mean over channels.

    Args:
        folder: of the stage.
        criterion: of the stage, trained.
        nets: its networks.
        batch: held-out images.
    """
    if not isinstance(criterion, Drawn):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for("pretext pictures"))
        shown = {name: images[:SHOWN].float().mean(1) for name, images in criterion.pictures(nets, batch).items()}
    flat = {name: x[:, x.shape[1] // 2] if x.ndim == 4 else x for name, x in shown.items()}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{name: x.cpu().numpy() for name, x in flat.items()})
    write_bytes(folder / PICTURES, file.getvalue())
