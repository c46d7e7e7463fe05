"""Labelled features: what every estimator is given, checked once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError

__all__ = ["Array", "Labels", "class_rows", "features_of", "labelled", "one_hot", "principal"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

RANK = 1e-10
"""Directions with less than this share of the largest singular value hold nothing but rounding."""


def features_of(features: npt.ArrayLike) -> Array:
    """Return features (N, D) in double precision.

    Raises:
        DataError: another number of axes, no rows or columns, or numbers that are not finite.
    """
    found = np.asarray(features, dtype=np.float64)
    if found.ndim != 2 or not found.size:
        msg = f"transferability: expected features (N, D) with N, D >= 1, got shape {found.shape}."
        raise DataError(msg)
    if not np.isfinite(found).all():
        msg = "transferability: features hold numbers that are not finite. Look at the images and at the weights."
        raise DataError(msg)
    return found


def labelled(features: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Array, Labels]:
    """Return features (N, D) and labels (N,) renumbered 0 to L - 1 in the order of their values.

    Raises:
        DataError: rows and labels differ in number, or all cases have one label.
    """
    found, names = features_of(features), np.asarray(labels)
    if names.shape != (len(found),):
        msg = f"transferability: expected a label for each of {len(found)} rows, got shape {names.shape}."
        raise DataError(msg)
    known, numbers = np.unique(names, return_inverse=True)
    if len(known) < 2:
        msg = f"transferability: all {len(found)} cases have the same label; two classes are needed to tell apart."
        raise DataError(msg)
    return found, numbers.astype(np.int64)


def one_hot(labels: Labels) -> Array:
    """Return (N, L) with a one in the column of each label."""
    return np.eye(int(labels.max()) + 1)[labels]


def class_rows(labels: Labels) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each class."""
    return [np.flatnonzero(labels == number) for number in range(int(labels.max()) + 1)]


def principal(features: Array, most: int, *, least: float = RANK) -> Array:
    """Return centred features along their leading directions, (N, d) with 1 <= d <= `most`.

    Args:
        features: (N, D).
        most: directions at most.
        least: singular value, as a share of the largest, from which on a direction counts.
    """
    u, s, _ = np.linalg.svd(features - features.mean(0), full_matrices=False)
    kept = max(1, min(most, int((s > least * s[0]).sum())))
    return np.asarray(u[:, :kept] * s[:kept], dtype=np.float64)
