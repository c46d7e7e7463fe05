"""Filter change: how far training moved each layer and each filter from where it began.

Idea      Filters that hardly move were reused (or never needed to be right). Judge it against the
          change of a network that began at random.
Paper     Karimi, Warfield, Gholipour, Artif. Intell. Med. 116, 2021, arXiv:2006.00356
Formula   ||W1 - W0|| / ||W0|| per layer; cosine of W1[o] and W0[o]; max over i of |corr(W1[o], W0[i])|
Defaults  none
Differs   The formulas are ours; the abstract names the question, not the measure.
Checked   tests/unit/analysis/test_filter_change.py: frozen layers 0; permuted filters are found by
          the best match and not by the cosine; numpy's corrcoef.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError

__all__ = ["LayerChange", "best_match", "filter_cosine", "layer_changes", "relative_change"]

Array = npt.NDArray[np.float64]


class LayerChange(NamedTuple):
    """How one layer changed.

    Args:
        name: of the tensor.
        relative: ||W1 - W0|| / ||W0||, NaN where the layer began at 0.
        cosine: (O,) per filter, NaN where a filter is 0 before or after.
        matched: (O,) best correlation of a trained filter with any initial one, NaN where it
            does not vary.
    """

    name: str
    relative: float
    cosine: Array
    matched: Array


def relative_change(before: npt.ArrayLike, after: npt.ArrayLike) -> float:
    """Return ||after - before|| / ||before||, 0 for an unchanged tensor, NaN if it began at 0 and moved."""
    first, second = _pair(before, after)
    moved, size = float(np.linalg.norm(second - first)), float(np.linalg.norm(first))
    if moved == 0:
        return 0.0
    return moved / size if size > 0 else float("nan")


def filter_cosine(before: npt.ArrayLike, after: npt.ArrayLike) -> Array:
    """Return the cosine of each filter with itself before training.

    Args:
        before: (O, I, *K) weights at the start.
        after: (O, I, *K) after training.

    Returns:
        (O,) in [-1, 1], NaN where a filter is 0 before or after.
    """
    first, second = (_rows(matrix) for matrix in _pair(before, after))
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return _ratio((first * second).sum(axis=1), norms)


def best_match(before: npt.ArrayLike, after: npt.ArrayLike) -> Array:
    """Return for each trained filter its largest |Pearson correlation| with any initial filter.

    With few weights in a filter a high match is found by chance: compare with random weights.

    Args:
        before: (O, I, *K) weights at the start.
        after: (O, I, *K) after training.

    Returns:
        (O,) in [0, 1], NaN where the trained filter does not vary.
    """
    first, second = (_rows(matrix) for matrix in _pair(before, after))
    first, second = (m - m.mean(axis=1, keepdims=True) for m in (first, second))
    norms = np.outer(np.linalg.norm(second, axis=1), np.linalg.norm(first, axis=1))
    table = np.abs(_ratio(second @ first.T, norms))
    best = np.nan_to_num(table, nan=-1.0).max(axis=1)
    return np.where(best < 0, np.nan, best)


def layer_changes(before: Mapping[str, npt.ArrayLike], after: Mapping[str, npt.ArrayLike]) -> tuple[LayerChange, ...]:
    """Return the change of every tensor with at least two axes, in the order of `before`.

    Args:
        before: tensors by name, at the start (after transfer).
        after: the same names and shapes, after training.

    Raises:
        DataError: names or shapes differ.
    """
    if before.keys() != after.keys():
        first = sorted(before.keys() ^ after.keys())[0]
        msg = f"the networks differ: tensor {first!r} is in only one of them. Compare states of one network."
        raise DataError(msg)
    return tuple(
        LayerChange(
            name,
            relative_change(weights, after[name]),
            filter_cosine(weights, after[name]),
            best_match(weights, after[name]),
        )
        for name, weights in before.items()
        if np.ndim(weights) >= 2
    )


def _pair(before: npt.ArrayLike, after: npt.ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape:
        msg = f"weights before {first.shape} and after {second.shape} differ in shape. Compare the same layer."
        raise DataError(msg)
    return first, second


def _rows(matrix: Array) -> Array:
    if matrix.ndim < 2:
        msg = f"filters need an output axis and an input axis, got shape {matrix.shape}."
        raise DataError(msg)
    return matrix.reshape(len(matrix), -1)


def _ratio(part: Array, whole: Array) -> Array:
    """Divide, NaN where nothing is divided by."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
