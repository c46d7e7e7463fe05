"""Feature maps of a run: what the deepest level makes of source and target cases that nothing was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from allograft.analysis.transferability.linear_probe import linear_probe
from allograft.core.errors import AllograftError
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.functional.mmd import multi_kernel_mmd
from allograft.nets.network import Network
from allograft.study.arm import Arm
from allograft.study.domain_gap import Mapped
from allograft.study.feature_map import FeatureMap, plane, write_map
from allograft.study.shift import Shift

__all__ = ["Held", "keep_feature_map"]

IMAGES, MASKS = 100, 24
"""Cases of each side that are looked at; fewer of a segmentation, whose images are read window by window (ours)."""

Array = npt.NDArray[np.float32]


class Held(NamedTuple):
    """Cases that a run was not trained on.

    Args:
        cohort: of both sides.
        shift: which domains are the target's.
        names: pseudonym of every case.
    """

    cohort: Cohort
    shift: Shift
    names: Mapping[str, str]


def keep_feature_map(aside: Path, arm: Arm, nets: tuple[Network, Network], held: Held, seed: int) -> None:
    """Write features of drawn cases before and after training, with how far apart source and target lie in them.

    Nothing is written where one side has no case.

    Args:
        aside: the run's folder.
        arm: recipe, data and device of the run.
        nets: the network as it began and as it was handed on.
        held: cases that it was not trained on.
        seed: of the draw; recipes that share it look at the same cases.
    """
    most = IMAGES if arm.pool.patches is None else MASKS
    rng = np.random.default_rng(seed)
    sides: tuple[list[str], list[str]] = ([], [])
    for case in held.cohort:
        sides[held.shift.is_target(case.domain)].append(case.id)
    if not all(sides):
        return
    drawn = {side[i] for side in sides for i in rng.permutation(len(side))[:most]}
    some = held.cohort.subset(i for i in held.cohort.ids if i in drawn)
    target = np.array([held.shift.is_target(case.domain) for case in some])
    before, after = (arm.pool.features(net, some, arm.device, -1) for net in nets)
    groups = [case.group for case in some]
    found = FeatureMap(
        cases=tuple(held.names[case.id] for case in some),
        domains=tuple(case.domain for case in some),
        sides=tuple("target" if one else "source" for one in target),
        labels=tuple(_label(case, arm) for case in some),
        before=plane(before),
        after=plane(after),
    )
    numbers = Mapped(
        recipe="",
        run="",
        file=Path(),
        told_before=_told(before, target, groups),
        told_after=_told(after, target, groups),
        mmd_before=_mmd(before, target),
        mmd_after=_mmd(after, target),
    )
    write_map(aside, found, numbers)


def _label(case: Case, arm: Arm) -> str:
    """Return the class of a case, empty where it has no single one."""
    task = arm.task
    index = case.targets.get(task.head)
    single = task.kind in {"binary", "multiclass"} and isinstance(index, int) and index >= 0
    return task.classes[index] if single and isinstance(index, int) else ""


def _told(features: Array, target: npt.NDArray[np.bool_], groups: list[str]) -> float | None:
    """Return how well a line tells source from target on left-out units, None where there are too few units."""
    try:
        return float(linear_probe(features, target.astype(np.int64), groups))
    except AllograftError:
        return None


def _mmd(features: Array, target: npt.NDArray[np.bool_]) -> float | None:
    """Return the unbiased squared MMD between the sides, None below two cases of each."""
    if min(target.sum(), (~target).sum()) < 2:
        return None
    rows = torch.from_numpy(features.astype(np.float64))
    return float(multi_kernel_mmd(rows[~target], rows[target], unbiased=True))
