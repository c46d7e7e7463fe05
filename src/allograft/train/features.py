"""Feature cache: what a frozen encoder says of each case, computed once and read from disk ever after.

A frozen encoder gives the same levels in every epoch, recipe and seed, so they are stored under a key
made of the encoder's own tensors, the decoded data and the normalisation. Augmented images have other
features; the cache is for views without augmentation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from allograft.core.atomic import folder_aside, write_text
from allograft.core.errors import ConfigError, DataError
from allograft.data.case import Batch
from allograft.nets.modes import evaluating
from allograft.nets.network import Network
from allograft.train.learning import ever_learns
from allograft.weights.plan import TransferPlan
from allograft.weights.schedule import is_task

__all__ = ["FeatureCache", "cache_features", "encoder_frozen", "encoder_hash", "feature_key"]

MANIFEST = "manifest.json"


def encoder_frozen(plan: TransferPlan, steps: int) -> bool:
    """Tell whether no tensor of the encoder ever learns in a run of `steps` steps, statistics included."""
    encoder = [entry for entry in plan.entries if not is_task(entry.stage)]
    return bool(encoder) and not any(ever_learns(entry.learns, steps) for entry in encoder)


def encoder_hash(net: Network) -> str:
    """Return 64 hexadecimal digits that change with any name, shape, type or bit of the encoder's tensors."""
    digest = hashlib.sha256(type(net.encoder).__name__.encode())
    for name, tensor in sorted(net.encoder.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"\0{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def feature_key(net: Network, *data: str) -> str:
    """Return the cache's key: 32 hexadecimal digits of the encoder's hash and of what names the data.

    Args:
        net: the network after `apply`.
        data: hash of the decoded data, of the normalisation, of the view: all that decides the input.
    """
    kept = ["slices"] if net.by_instance else []
    kept += [] if net.bag is None else [repr(net.bag)]
    text = json.dumps([encoder_hash(net), net.decoder is None, *kept, *data])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class FeatureCache:
    """Levels of N cases on disk, memory-mapped.

    Args:
        levels: one array (N, c, *s) float32 per level.
        rows: row of each case id.
    """

    levels: tuple[npt.NDArray[np.float32], ...]
    rows: dict[str, int]

    @classmethod
    def open(cls, folder: Path) -> FeatureCache:
        """Open a finished cache.

        Raises:
            DataError: it is not complete.
        """
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            arrays = tuple(np.load(folder / f"level-{i}.npy", mmap_mode="r") for i in range(len(manifest["shapes"])))
        except (OSError, ValueError) as error:
            msg = f"{folder}: the feature cache cannot be read ({error}). Remove this folder; it is made again."
            raise DataError(msg) from error
        if [list(array.shape) for array in arrays] != manifest["shapes"]:
            msg = f"{folder}: arrays differ from the manifest's shapes {manifest['shapes']}. Remove this folder."
            raise DataError(msg)
        return cls(arrays, {name: row for row, name in enumerate(manifest["ids"])})

    def take(self, ids: Sequence[str]) -> tuple[Tensor, ...]:
        """Return the levels of the named cases, each (len(ids), c, *s).

        Raises:
            DataError: a case is not in the cache.
        """
        lacking = [name for name in ids if name not in self.rows]
        if lacking:
            msg = f"case {lacking[0]} is not in the feature cache ({len(lacking)} such cases). Cache the whole cohort."
            raise DataError(msg)
        rows = [self.rows[name] for name in ids]
        return tuple(torch.from_numpy(level[rows]) for level in self.levels)

    def fill(self, batch: Batch) -> Batch:
        """Return the batch with its images replaced by the levels of its cases."""
        return replace(batch, image=self.take(batch.ids), views=())


def cache_features(
    net: Network, batches: Iterable[Batch], *, ids: Sequence[str], folder: Path, key: str, trained_on: bool = True
) -> FeatureCache:
    """Return the cache `folder/key`, making it if it is not there.

    Args:
        net: the network whose encoder is frozen; left as it was.
        batches: every case of `ids` once, in that order, as the recipe would see it unaugmented;
            not touched where the cache exists.
        ids: all cases, so that an existing cache can be checked.
        folder: home of the caches.
        key: from `feature_key`.
        trained_on: whether a head learns from the features; where they are only looked at, noise is no matter.

    Raises:
        ConfigError: the encoder has noise (dropout) that training would see and a cache would not.
        DataError: the batches hold other cases than `ids`.
    """
    if trained_on:
        _refuse_noise(net.encoder)
    final = folder / key
    if not (final / MANIFEST).exists():
        with folder_aside(final) as aside:
            _write(net, batches, ids, aside)
    cache = FeatureCache.open(final)
    if list(cache.rows) != list(ids):
        msg = f"{final}: holds {len(cache.rows)} other cases than the {len(ids)} asked for; the key must name the data."
        raise DataError(msg)
    return cache


def _write(net: Network, batches: Iterable[Batch], ids: Sequence[str], aside: Path) -> None:
    """Encode all batches into arrays in `aside`."""
    arrays: list[npt.NDArray[np.float32]] = []
    done = 0
    for batch in batches:
        size = len(batch.ids)
        if not size or tuple(ids[done : done + size]) != batch.ids:
            msg = f"feature cache: expected the cases in order, from {ids[done : done + 1]}; got {batch.ids[:1]}."
            raise DataError(msg)
        levels = _encode(net, batch)
        arrays = arrays or [_array(aside / f"level-{i}.npy", len(ids), x) for i, x in enumerate(levels)]
        for array, level in zip(arrays, levels, strict=True):
            array[done : done + size] = level
        done += size
    if done != len(ids) or not done:
        msg = f"feature cache: expected {len(ids)} cases, the batches held {done}."
        raise DataError(msg)
    for array in arrays:
        cast("np.memmap[Any, np.dtype[np.float32]]", array).flush()
    write_text(aside / MANIFEST, json.dumps({"ids": list(ids), "shapes": [list(array.shape) for array in arrays]}))


def _encode(net: Network, batch: Batch) -> list[npt.NDArray[np.float32]]:
    """Return the levels to keep of one batch."""
    if not isinstance(batch.image, Tensor):
        msg = "feature cache: expected images (B, C, *S); these batches hold levels already."
        raise DataError(msg)
    with evaluating(net):
        levels = net.compact(net.encode(batch.image.to(next(net.parameters()).device)))
    return [level.float().cpu().numpy() for level in levels]


def _array(path: Path, cases: int, level: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a new array file for `cases` levels like those of `level`."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(cases, *level.shape[1:]))


def _refuse_noise(encoder: nn.Module) -> None:
    """Refuse an encoder with active dropout or stochastic depth."""
    for name, module in encoder.named_modules():
        rate = getattr(module, "p", getattr(module, "drop_prob", 0.0))
        if "drop" in type(module).__name__.lower() and isinstance(rate, float) and rate > 0:
            msg = (
                f"feature cache: encoder.{name} drops values with probability {rate} in training, which a cache would "
                "not. Set dropout and drop_path of the encoder to 0, or train without the cache."
            )
            raise ConfigError(msg)
