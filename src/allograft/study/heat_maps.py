"""Heat maps of a run: where the network that is handed on looks, for a few test cases of the first fold.

A network that weighs slices or tiles by attention shows that; every other one Grad-CAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from allograft.analysis.bag_attention import Attention, attends, bag_attention
from allograft.analysis.grad_cam import heat_maps
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.functional.probabilities import probabilities
from allograft.nets.modes import evaluating
from allograft.nets.network import Network
from allograft.study.heat import CASES, HEAT, Heat, write_heat
from allograft.study.pool import Pool
from allograft.study.slices import grey

__all__ = ["KINDS", "asked_classes", "keep_heat"]

KINDS = ("multiclass", "binary", "multilabel")
"""Tasks that have classes of whole cases."""


def keep_heat(aside: Path, pool: Pool, net: Network, cohort: Cohort, names: Mapping[str, str]) -> None:
    """Write where the network looks in the first cases, for each one's true class.

    Nothing is written where the task has no classes of whole cases, or where the network judges by an embedding that
    has no positions.

    Args:
        aside: the run's folder.
        pool: the data set as the network reads it.
        net: the network.
        cohort: test cases; the first `CASES` are looked at.
        names: pseudonym of every case.
    """
    if pool.task.kind not in KINDS:
        return
    some = cohort.subset(cohort.ids[:CASES])
    batch = next(iter(pool.batches(some)))
    assert isinstance(batch.image, torch.Tensor), "plain images were asked for"
    image = batch.image.to(next(net.parameters()).device)
    with evaluating(net):
        said = probabilities(net(image).logits[pool.task.head], pool.task.kind).cpu()
        asked = asked_classes(pool.task, batch.targets[pool.task.head].cpu(), said)
        looks = _looks(net, image, asked, pool.task.head)
    for i, name in enumerate(some.ids if looks is not None else ()):
        assert looks is not None, "there are no names otherwise"
        found = _shown(pool, name, looks, i, (int(asked[i]), int(said[i].argmax()), float(said[i].max())))
        write_heat(aside / HEAT / f"{names[name]}.npz", found)


def _looks(net: Network, image: torch.Tensor, asked: torch.Tensor, head: str) -> Attention | None:
    """Return where the network looks, without shares where Grad-CAM says it; None where it has no places."""
    if attends(net, head):
        found = bag_attention(net, image, head)
        return Attention(found.heat.cpu(), found.shares.cpu(), found.grid)
    try:
        heat = heat_maps(net, image, asked.to(image.device), head).cpu()
    except ConfigError:  # the report names the recipes without a map
        return None
    return Attention(heat, torch.zeros(len(heat), 0), ())


def asked_classes(task: Task, targets: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    """Return the class that each map is about: the true one (the first of several), the predicted one without truth."""
    if task.kind == "multilabel":
        return torch.where((targets > 0).any(1), (targets > 0).long().argmax(1), said.argmax(1))
    flat = targets.reshape(len(said)).long()
    return torch.where(flat >= 0, flat, said.argmax(1))


def _shown(pool: Pool, name: str, looks: Attention, at: int, words: tuple[int, int, float]) -> Heat:
    """Return a picture, or a slice of a volume, with its heat; volumes with the front up.

    The slice is the middle one for Grad-CAM and the one with most attention where there is some.
    """
    heat: npt.NDArray[Any] = looks.heat[at].numpy()
    shares = looks.shares[at].float().numpy()
    image, place, of = pool.store.image(name), 1, 1
    if heat.ndim == 3:
        of = len(heat)
        chosen = int(heat.sum((1, 2)).argmax()) if len(shares) else of // 2
        image, heat, place = image[:, chosen], heat[chosen], chosen + 1
        if pool.store.placement(name).geometry.unit == "mm":
            image, heat = image[:, ::-1, ::-1], heat[::-1, ::-1]
    levels = np.rint(255 * np.clip(heat, 0, 1)).astype(np.uint8)
    shown = grey(np.asarray(image, dtype=np.float32), colours=of == 1)
    return Heat(shown, levels, *words, place, of, shares, looks.grid)
