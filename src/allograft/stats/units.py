"""From cases to independent units: what is counted in a verdict are patients, not images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError

__all__ = ["PairedUnits", "paired_unit_means", "unit_index"]

Array = npt.NDArray[np.float64]


class PairedUnits(NamedTuple):
    """One value per independent unit and arm.

    Args:
        units: G names, in order of first appearance.
        a: (G,) mean of the unit's cases under arm a.
        b: (G,) the same under arm b.
        dropped: units in which no case has a value under both arms; they are in neither array.
    """

    units: tuple[str, ...]
    a: Array
    b: Array
    dropped: tuple[str, ...]


def unit_index(groups: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Return the G unit names in order of first appearance and, per case, its unit's number (N,).

    >>> unit_index(["p2", "p1", "p2"])[0]
    ('p2', 'p1')
    """
    number: dict[str, int] = {}
    index = np.array([number.setdefault(group, len(number)) for group in groups], dtype=np.int64)
    return tuple(number), index


def paired_unit_means(a: Array, b: Array, groups: Sequence[str]) -> PairedUnits:
    """Average per-case values inside each unit, over the cases that both arms have a value for.

    Every unit weighs the same afterwards, however many images it has: the question answered is
    about the next patient, not about the next image.

    Args:
        a: (N,) per-case values of one arm, NaN where undefined.
        b: (N,) of the other, same cases in the same order.
        groups: N unit names.

    Raises:
        DataError: the lengths differ, or a value is infinite.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.shape != (len(groups),):
        msg = (
            f"paired values need one value per case and arm: got {a.shape} and {b.shape} for {len(groups)} cases. "
            "Compare predictions of the same cases."
        )
        raise DataError(msg)
    if np.isinf(a).any() or np.isinf(b).any():
        msg = "per-case values contain infinity; no mean exists. Look at the predictions of those cases."
        raise DataError(msg)
    names, index = unit_index(groups)
    both = ~(np.isnan(a) | np.isnan(b))
    count = np.bincount(index[both], minlength=len(names))
    kept = count > 0
    means = [np.bincount(index[both], weights=x[both], minlength=len(names))[kept] / count[kept] for x in (a, b)]
    units = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
    dropped = tuple(name for name, keep in zip(names, kept, strict=True) if not keep)
    return PairedUnits(units, means[0], means[1], dropped)
