"""Elements: drawn pixels or voxels of a data set with the features that an encoder gives them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from allograft.core.errors import ConfigError, DataError
from allograft.core.seeds import seed_for
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.data.elements import Elements
from allograft.nets.modes import evaluating
from allograft.nets.network import Network, axis_strides
from allograft.study.pool import Pool
from allograft.train.device import Device

__all__ = ["Draw", "draw_elements"]

Places = npt.NDArray[np.int64]


class Draw(NamedTuple):
    """What is drawn: at most `per_case` elements of each case, of a level of the encoder; by its seed."""

    per_case: int
    level: int = -1
    seed: int = 0


def draw_elements(net: Network, pool: Pool, cohort: Cohort, device: Device, draw: Draw) -> Elements:
    """Return drawn elements of each whole image, as it is stored.

    Of a case with a mask each class that it holds is drawn equally often, as far as it has elements; elements to be
    ignored are left out. Of other cases every element is equally likely; the mask that the store may have of them is
    not read. An image goes through the encoder as a whole.

    Raises:
        ConfigError: the task is no segmentation, the level is coarser than the image, or the encoder tells positions
            and the windows of prediction do not hold whole images.
        DataError: no element can be drawn.
    """
    _check(net, pool, draw)
    features, labels, cases = [], [], []
    with device.session() as live:
        net.to(live.device)
        for number, case in enumerate(cohort):
            rng = np.random.default_rng(seed_for("elements", draw.seed, case.id))
            at, own = _places(pool, case, draw.per_case, rng)
            image = pool.normalise(torch.from_numpy(np.ascontiguousarray(pool.store.image(case.id)))[None])
            with evaluating(net):
                level = net.encode(image.to(live.device))[draw.level][0].flatten(1)
            features.append(level[:, torch.from_numpy(at).to(level.device)].T.float().cpu().numpy())
            labels.append(own)
            cases.append(np.full(len(at), number, dtype=np.int64))
        net.to("cpu")
    if not sum(map(len, cases)):
        msg = (
            f"cohort {cohort.name}: no element of its {len(cohort)} cases can be drawn; their masks are to be ignored."
        )
        raise DataError(msg)
    return Elements(np.concatenate(features), np.concatenate(labels), np.concatenate(cases))


def _places(pool: Pool, case: Case, count: int, rng: np.random.Generator) -> tuple[Places, Places]:
    """Return flat positions in an image, in order, and their labels, -1 without a mask."""
    if pool.task.head not in case.targets:
        size = int(np.prod(pool.store.placement(case.id).shape))
        at = np.sort(rng.choice(size, min(count, size), replace=False))
        return at, np.full(len(at), -1, dtype=np.int64)
    mask = pool.store.mask(case.id, pool.task.head).ravel()
    kinds = [label for label in np.unique(mask) if label >= 0]
    parts = []
    for label in kinds:
        found = np.flatnonzero(mask == label)
        parts.append(rng.choice(found, min(max(1, count // len(kinds)), len(found)), replace=False))
    at = np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
    return at, mask[at].astype(np.int64)


def _check(net: Network, pool: Pool, draw: Draw) -> None:
    if pool.patches is None:
        msg = f"elements are drawn in a segmentation; this task is a {pool.task.kind}. Use another procedure."
        raise ConfigError(msg)
    if set(axis_strides(net.shape)[draw.level]) != {1}:
        msg = (
            f"elements are drawn where an encoder keeps the image's grid; its strides are {net.shape.strides}. Take "
            "voxel_features."
        )
        raise ConfigError(msg)
    if getattr(net.encoder, "position", False):
        whole = {grid.shape for grid in pool.store.index.grids} == {pool.patches.size}
        if not whole or pool.patches.mirror:
            msg = (
                "the encoder tells where an element lies in what it is shown, which is the place in the image only "
                f"where one window holds it all and nothing is mirrored; windows are {pool.patches.size}"
                f"{' and mirrored' if pool.patches.mirror else ''}. Set preprocess.size and patches.size alike, "
                "or take voxel_features without positions."
            )
            raise ConfigError(msg)
