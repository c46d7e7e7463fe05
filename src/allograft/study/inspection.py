"""Inspection: what training did to a network's layers, measured in the run itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.analysis.cca import cca_similarity
from allograft.analysis.cka import linear_cka
from allograft.analysis.filter_change import relative_change
from allograft.analysis.svcca import svcca_similarity
from allograft.core.errors import DataError
from allograft.data.case import Batch
from allograft.infer.features import image_features
from allograft.nets.network import Network, stage_of
from allograft.weights.fingerprint import stage_features

__all__ = ["inspect_layers", "weight_change"]

Array = npt.NDArray[np.float64]
IMAGES, POINTS, CHANNELS = 96, 768, 96
"""Images looked at; positions drawn from them; widest stage for CCA (its cost grows with the cube)."""


def weight_change(before: Network, after: Network) -> dict[str, float]:
    """Return by encoder stage the relative L2 change of its weights, all kernels and matrices together."""
    old, new, stages = before.state_dict(), after.state_dict(), after.stages()
    parts: dict[str, list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]] = {}
    for key, tensor in new.items():
        if key.startswith("encoder.") and tensor.ndim > 1 and tensor.is_floating_point():
            pair = (old[key].double().numpy().ravel(), tensor.double().numpy().ravel())
            parts.setdefault(stage_of(key, stages), []).append(pair)
    return {
        stage: relative_change(np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]))
        for stage, pairs in parts.items()
    }


def inspect_layers(
    before: Network, after: Network, batches: Iterator[Batch], seed: int
) -> tuple[list[dict[str, Any]], npt.NDArray[np.float16]]:
    """Return a row per stage (change; CKA, CCA and SVCCA before/after training) and the deepest pooled features.

    Args:
        before: the network as it started.
        after: as it was handed on.
        batches: validation images; the first `IMAGES` are used, or the first instances where images are bags.
        seed: of the positions drawn for CCA.
    """
    images = torch.cat([batch.image for batch in islice(batches, 1) if isinstance(batch.image, Tensor)])[:IMAGES]
    shown = images if after.bag is None else after.bag.cut(images).flatten(0, 1)[:IMAGES]
    old, new = (stage_features(net.encoder, shown) for net in (before, after))
    change = weight_change(before, after)
    rows = []
    for stage, features in new.items():
        if stage == "output":
            continue
        rows.append(
            {
                "stage": stage,
                "change": change.get(stage),
                "cka": _compared(linear_cka, _pooled(old[stage]), _pooled(features)),
                "cca": _cca(old[stage], features, seed),
                "svcca": _svcca(old[stage], features, seed),
            }
        )
    deep = _pooled(new["output"]) if after.bag is None else image_features(after, [images], -1)
    return rows, deep.astype(np.float16)


def _pooled(features: Tensor) -> npt.NDArray[np.float64]:
    """Average (N, C, *S) over space: (N, C)."""
    return features.flatten(2).mean(2).double().numpy() if features.ndim > 2 else features.double().numpy()


def _cca(old: Tensor, new: Tensor, seed: int) -> float | None:
    """Mean canonical correlation over drawn positions; None where the stage is too wide to estimate it."""
    if new.ndim < 3 or new.shape[1] > CHANNELS:
        return None
    a, b = _positions(old, new, POINTS, seed)
    return _compared(cca_similarity, a, b) if len(a) > 4 * new.shape[1] else None


def _svcca(old: Tensor, new: Tensor, seed: int) -> float | None:
    """SVCCA over drawn positions; None where even the leading directions are too many for them."""
    if new.ndim < 3:
        return None
    return _compared(svcca_similarity, *_positions(old, new, POINTS // 2, seed))


def _positions(old: Tensor, new: Tensor, count: int, seed: int) -> tuple[Array, Array]:
    """Return the same drawn positions of both, each (count, C)."""
    a, b = (t.movedim(1, -1).reshape(-1, t.shape[1]).double().numpy() for t in (old, new))
    keep = np.random.default_rng(seed).permutation(len(a))[:count]
    return a[keep], b[keep]


def _compared(measure: Any, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float | None:
    """Return the measure, None where a stage does not vary (means behind an instance norm are all alike)."""
    try:
        return float(measure(a, b))
    except DataError:
        return None
