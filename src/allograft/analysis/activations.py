"""Activations as a matrix: data points in rows, neurons in columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError

__all__ = ["as_matrix", "centred_pair"]

Array = npt.NDArray[np.float64]


def as_matrix(activations: npt.ArrayLike) -> Array:
    """Return activations (N, F) or (N, C, *S) as (points, neurons).

    For convolutions every position of every image is a data point: (N, C, *S) becomes
    (N * prod(S), C).

    Raises:
        DataError: fewer than two axes.
    """
    values = np.asarray(activations, dtype=np.float64)
    if values.ndim < 2:
        msg = f"activations need a case axis and a channel axis, got shape {values.shape}."
        raise DataError(msg)
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def centred_pair(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array]:
    """Return two matrices (n, p) and (n, q) with each neuron's mean removed.

    Raises:
        DataError: the rows are not the same data points, a value is not finite, or a matrix has
            no neuron that varies.
    """
    pair = []
    for values in (as_matrix(x), as_matrix(y)):
        if not np.isfinite(values).all():
            msg = "activations contain values that are not finite. Look at the network's outputs."
            raise DataError(msg)
        pair.append(values - values.mean(axis=0, keepdims=True))
    if len(pair[0]) != len(pair[1]):
        msg = (
            f"activations of {len(pair[0])} and {len(pair[1])} data points cannot be compared: both networks must "
            "see the same images, and convolution layers must have the same spatial size."
        )
        raise DataError(msg)
    for centred, raw in zip(pair, (x, y), strict=True):
        scale = float(np.abs(np.asarray(raw, dtype=np.float64)).max(initial=0.0))
        if not np.abs(centred).max(initial=0.0) > 1e-12 * max(scale, 1e-300):
            msg = "a layer's activations do not vary over the data points, so nothing can be compared with them."
            raise DataError(msg)
    return pair[0], pair[1]
