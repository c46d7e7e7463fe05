"""Voxel model: what a classifier of voxels is fitted to, and what it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.core.reference import Reference
from allograft.shallow.kernel_svm import Expansion, KernelSVM

__all__ = ["Fitted", "VoxelModel", "VoxelSamples", "require_both"]

Array = npt.NDArray[np.float64]


class VoxelSamples(NamedTuple):
    """Drawn voxels.

    Args:
        x: (n, F) standardised features of labelled voxels.
        y: (n,) their classes.
        images: (n,) which image each is of.
        own: (n,) which are of the target's domain.
        weights: (n,) >= 0, mean 1.
        seen: by image in the order of their numbers, unlabelled voxels (k, F); None where there is no target.
        target: (m, F) unlabelled voxels of the target; None where there is no target.
    """

    x: Array
    y: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    own: npt.NDArray[np.bool_]
    weights: Array
    seen: tuple[Array, ...] | None
    target: Array | None


class Fitted(NamedTuple):
    """A classifier as numbers, the classes that it has seen, and facts for the run's record."""

    expansion: Expansion
    classes: npt.NDArray[np.int64]
    facts: Mapping[str, float | str]


@runtime_checkable
class VoxelModel(Protocol):
    """How voxels are classified."""

    name: ClassVar[str]
    paper: ClassVar[Reference]
    reads_target: ClassVar[bool]
    """Whether it learns from unlabelled voxels of the target."""

    def fit(self, samples: VoxelSamples, machine: KernelSVM) -> Fitted:
        """Fit to labelled voxels; `machine` says cost, kernel and map."""


def require_both(samples: VoxelSamples, who: str) -> None:
    """Refuse labelled voxels of one domain alone.

    Raises:
        DataError: the source or the target has no labelled voxel.
    """
    if not samples.own.any() or samples.own.all():
        missing = "source" if samples.own.all() else "target"
        msg = (
            f"{who} learns from labelled voxels of the source and of a few cases of the target; the {missing} has "
            "none. Set learn: both in the recipe and shift: {labels: N} in the data set, or take svm."
        )
        raise DataError(msg)
