"""Voxels: features of drawn elements of labelled windows, layer by layer, within bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.contracts import Started
from allograft.core.seeds import seed_for
from allograft.data.case import Batch
from allograft.data.cohort import Cohort
from allograft.data.roster import Roster
from allograft.data.streams import StoreStreams
from allograft.data.transforms.augment import Augment
from allograft.nets.modes import evaluating
from allograft.nets.network import Network, axis_strides
from allograft.study.estimators import Sample
from allograft.study.pool import Pool
from allograft.weights.rules import Action

__all__ = ["CASES", "decoder_is_copied", "voxel_sample"]

CASES, WINDOWS, PER_CLASS, ROWS = 24, 2, 16, 1500
"""Cases looked at, windows of each, voxels of each class in a window, voxels that classifiers of rows see (ours)."""

Array = npt.NDArray[np.float64]
LACKING = "not available: the source's classes are of whole images, not of voxels"


def voxel_sample(started: Started, pool: Pool, cohort: Cohort, seed: int) -> Sample:
    """Return features of voxels of training cases in every layer of a started network.

    Layers are the encoder's levels; where the decoder comes from the source, its output too. Only one window is
    held at a time, and `PER_CLASS` voxels of each class are kept of it.

    Args:
        started: the network after `apply`; it stays as it is.
        pool: the data set.
        cohort: training cases whose labels may be read; `CASES` of them are drawn.
        seed: of the draws, the same for every recipe.
    """
    order = np.random.default_rng(seed_for(seed, "cases")).permutation(len(cohort))[:CASES]
    drawn = cohort.subset(cohort.ids[i] for i in sorted(order))
    roster = Roster(cohort=drawn, batch=1, tasks=(pool.task,))
    streams = StoreStreams({"score": pool.stream(roster, Augment(), 0)}, seed=seed)
    number = {name: i for i, name in enumerate(drawn.ids)}
    decoded = decoder_is_copied(started)
    layers: list[list[Array]] = []
    labels: list[npt.NDArray[np.int64]] = []
    images: list[int] = []
    for step in range(WINDOWS * len(drawn)):
        batch = streams.at(step)["score"]
        mask = batch.targets[pool.task.head][0].numpy()
        places = _places(mask, np.random.default_rng(seed_for(seed, "voxels", step)))
        layers.append([_at(x, places, mask.shape) for x in _layers(started.net, batch, decoded)])
        labels.append(mask[tuple(places.T)].astype(np.int64))
        images += [number[batch.ids[0]]] * len(places)
    together = tuple(np.concatenate(each) for each in zip(*layers, strict=True))
    return _sample(together, np.concatenate(labels), np.asarray(images), [c.group for c in drawn], seed)


def _sample(
    layers: tuple[Array, ...],
    labels: npt.NDArray[np.int64],
    images: npt.NDArray[np.int64],
    groups: list[str],
    seed: int,
) -> Sample:
    """Join the layers of drawn rows; each layer weighs alike, whatever the scale of its features."""
    rows = np.sort(np.random.default_rng(seed_for(seed, "rows")).permutation(len(labels))[:ROWS])
    scaled = [layer[rows] / (np.sqrt((layer**2).sum(1).mean()) or 1.0) for layer in layers]
    units = np.unique(groups, return_inverse=True)[1][images]
    return Sample(
        kind="segmentation",
        features=np.concatenate(scaled, axis=1),
        labels=labels[rows],
        groups=units[rows],
        lacking=LACKING,
        layers=layers,
        layer_labels=labels,
        layer_images=images,
    )


def decoder_is_copied(started: Started) -> bool:
    """Tell whether every weight of the decoder comes from the source."""
    entries = [entry for entry in started.plan.entries if entry.stage == "decoder" and entry.kind == "weight"]
    return bool(entries) and not any(entry.action is Action.FRESH for entry in entries)


def _layers(net: Network, batch: Batch, decoded: bool) -> Sequence[Tensor]:
    """Return the levels of one window, each (C, *s), those of one position left out."""
    assert isinstance(batch.image, Tensor), "windows are images"
    with evaluating(net), torch.no_grad():
        levels = net.encode(batch.image)
        spatial = [x for x, stride in zip(levels, axis_strides(net.shape), strict=True) if all(stride)]
        dense = [net.decoder(levels)] if decoded and net.decoder is not None else []
    return [x[0].float() for x in (*spatial, *dense)]


def _places(mask: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return up to `PER_CLASS` positions (V, dims) of each class in a window; outside the image lies none."""
    found = []
    for name in np.unique(mask[mask >= 0]):
        spots = np.argwhere(mask == name)
        found.append(spots[np.sort(rng.permutation(len(spots))[:PER_CLASS])])
    return np.concatenate(found)


def _at(level: Tensor, places: npt.NDArray[np.int64], size: tuple[int, ...]) -> Array:
    """Return the features (V, C) of the cells in which positions of a window of `size` lie."""
    cells = places * np.asarray(level.shape[1:]) // np.asarray(size)
    return np.asarray(level.numpy()[(slice(None), *cells.T)].T, dtype=np.float64)
