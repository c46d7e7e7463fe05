"""Windows: the patches of a segmentation, as the study says or as the prepared images suggest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.patches import Patches
from allograft.data.store import Store
from allograft.study.grid import Study

__all__ = ["input_shape", "suggest_size", "whole_or_windows", "windows"]

LARGEST = {2: 256, 3: 96}
"""Elements along an axis where the study says nothing (ours): what a processor and a small GPU can train on."""

STEP = 32
"""Suggested sizes are multiples of this: the largest stride of the usual encoders."""


def windows(study: Study, tasks: Mapping[str, Task], stores: Mapping[str, Store]) -> dict[str, Patches | None]:
    """Return the windows of each data set; None for tasks that see whole images.

    Raises:
        ConfigError: windows are named where no task has a use for them, or with other axes than the images.
    """
    dense = [name for name, task in tasks.items() if task.kind == "segmentation"]
    if study.patches is not None and not dense:
        msg = "patches do nothing where no task is a segmentation: whole images enter. Set preprocess.size for these."
        raise ConfigError(msg)
    if dense and any((recipe.select_by or study.select_by) == "loss" for recipe in study.recipes):
        msg = "select_by: loss is not offered for a segmentation; windows of a whole image have no loss of their own."
        raise ConfigError(msg)
    return {name: _windows(study.patches, stores[name], name) if name in dense else None for name in tasks}


def whole_or_windows(patches: Patches | None, store: Store, name: str) -> Patches | None:
    """Return the windows of images that have no masks: None, so whole images, where all are of one moderate size.

    Raises:
        ConfigError: windows are named with other axes than the images.
    """
    if patches is None and store.uniform and max(store.shape[1:]) <= LARGEST[store.dims]:
        return None
    return _windows(patches, store, name)


def _windows(patches: Patches | None, store: Store, name: str) -> Patches:
    if patches is None:
        return Patches(size=suggest_size([store.placement(case).shape for case in store.index.ids]))
    if len(patches.size) != store.dims:
        msg = f"patches.size has {len(patches.size)} axes, the images of {name} have {store.dims}. Give one for each."
        raise ConfigError(msg)
    return patches


def input_shape(store: Store, patches: Patches | None) -> tuple[int, ...]:
    """Return (C, *S) of what enters a network: a window of a segmentation, else a whole image."""
    return store.shape if patches is None else (store.channels, *patches.size)


def suggest_size(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return a patch for images of these sizes: their median, at most `LARGEST`, a multiple of `STEP`.

    >>> suggest_size([(40, 200, 210), (44, 210, 220)])
    (32, 96, 96)
    """
    middle = np.median(np.asarray(shapes), axis=0)
    limit = LARGEST[len(middle)]
    return tuple(max(STEP, int(min(n, limit)) // STEP * STEP) for n in middle)
