"""Pointing maps of a run: how much of the Grad-CAM heat of each test case lies inside a mask that the data set has.

Only where a classification has masks of the same cases (`also` of the data set). They need not be learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from allograft.analysis.grad_cam import heat_maps, share_inside
from allograft.core.errors import ConfigError
from allograft.data.cohort import Cohort
from allograft.functional.probabilities import probabilities
from allograft.nets.modes import evaluating
from allograft.nets.network import Network
from allograft.study.heat_maps import KINDS, asked_classes
from allograft.study.pointed import Pointed
from allograft.study.pointing import write_pointed
from allograft.study.pool import Pool

__all__ = ["keep_pointing"]


def keep_pointing(aside: Path, pool: Pool, net: Network, cohort: Cohort, names: Mapping[str, str]) -> None:
    """Write the share of heat for each case's true class that lies inside its mask, for every further head of masks.

    Nothing is written where the data set has no masks beside its classes, or where the network has no places.

    Args:
        aside: the run's folder.
        pool: the data set as the network reads it.
        net: the network.
        cohort: test cases; those whose mask holds something are looked at.
        names: pseudonym of every case and group.
    """
    heads = [task.head for task in cohort.also if task.kind == "segmentation"]
    if pool.task.kind not in KINDS or pool.patches is not None:
        return
    try:
        found = [row for head in heads for row in _pointed(pool, net, cohort, head, names)]
    except ConfigError:  # the report names the recipes without a map
        return
    if found:
        write_pointed(aside, found)


def _pointed(pool: Pool, net: Network, cohort: Cohort, head: str, names: Mapping[str, str]) -> Iterator[Pointed]:
    known = cohort.where(lambda case: pool.store.has_mask(case.id, head) and bool(pool.store.places(case.id, head)))
    device = next(net.parameters()).device
    for batch in pool.batches(known):
        assert isinstance(batch.image, torch.Tensor), "plain images were asked for"
        image = batch.image.to(device)
        inside = torch.stack([torch.from_numpy(pool.store.mask(name, head)) for name in batch.ids]) > 0
        with evaluating(net):
            said = probabilities(net(image).logits[pool.task.head], pool.task.kind).cpu()
            asked = asked_classes(pool.task, batch.targets[pool.task.head].cpu(), said)
            heat = heat_maps(net, image, asked.to(device), pool.task.head).cpu()
        shares, hottest = share_inside(heat, inside), heat.flatten(1).argmax(1, keepdim=True)
        hits = inside.flatten(1).gather(1, hottest)[:, 0]
        areas = inside.flatten(1).float().mean(1)
        for i, name in enumerate(batch.ids):
            there = bool(shares[i].isfinite())
            yield Pointed(
                head=head,
                case=names[name],
                unit=names[cohort[name].group],
                share=float(shares[i]) if there else None,
                hit=bool(hits[i]) if there else None,
                area=float(areas[i]),
            )
