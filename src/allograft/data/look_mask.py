"""Look at one mask beside its image: what it holds and what is wrong with it, not its pixels."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.grid import Grid
from allograft.data.io.image import Image
from allograft.data.io.mask import MaskGridError, MaskValueError, read_mask

__all__ = ["BadMask", "MaskLook", "look_at_mask"]


class BadMask(NamedTuple):
    """A mask that cannot be used.

    Attributes:
        kind: its grid is not the image's, it holds a value that is no class, or it cannot be read.
        text: the reader's message, with the file.
        values: the values of the second kind.
    """

    kind: Literal["mask_grid", "mask_values", "mask_unreadable"]
    text: str
    values: tuple[int, ...] = ()


class MaskLook(NamedTuple):
    """The facts of one readable mask.

    Attributes:
        counts: elements by class index; below 0 are ignored ones.
        content: hash of shape and labels.
        empty_share: of the foreground, the share where the image has its lowest value; 0 where the image
            has next to no such place.
    """

    counts: dict[int, int]
    content: str
    empty_share: float

    @property
    def foreground(self) -> dict[int, int]:
        """Elements by class above 0."""
        return {label: count for label, count in self.counts.items() if label > 0}


def look_at_mask(ref: ImageRef, of: ImageRef, image: Image) -> MaskLook | BadMask:
    """Return the facts of a mask, or why it cannot be used.

    Args:
        ref: the mask.
        of: the image that it belongs to, for messages.
        image: the same, decoded.
    """
    try:
        mask = read_mask(ref, onto=Grid(str(of), image.geometry, image.stored), dims=image.dims)
    except MaskGridError as error:
        return BadMask("mask_grid", str(error))
    except MaskValueError as error:
        return BadMask("mask_values", str(error), error.values)
    except DataError as error:
        return BadMask("mask_unreadable", str(error))
    labels = mask.array[0]
    values, counts = np.unique(labels, return_counts=True)
    digest = hashlib.sha256(repr(labels.shape).encode())
    digest.update(np.ascontiguousarray(labels, dtype="<i2").tobytes())
    return MaskLook(
        counts={int(value): int(count) for value, count in zip(values, counts, strict=True)},
        content=digest.hexdigest(),
        empty_share=_empty_share(image.array, labels > 0),
    )


EMPTY = 0.02
"""Share of an image at its lowest value from which that counts as a place without content (air, padding)."""


def _empty_share(array: npt.NDArray[Any], foreground: npt.NDArray[np.bool_]) -> float:
    """Return the share of the foreground where every channel has its lowest value."""
    total = int(foreground.sum())
    lowest = (array == array.min(axis=tuple(range(1, array.ndim)), keepdims=True)).all(axis=0)
    if not total or lowest.mean() < EMPTY:
        return 0.0
    return float((lowest & foreground).sum() / total)
