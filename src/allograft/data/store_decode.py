"""Decoding one case for a store: its image and masks as they will lie there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import ConfigError, DataError
from allograft.data.case import Case, ImageRef
from allograft.data.io.image import Image, read_channels
from allograft.data.io.mask import read_mask
from allograft.data.placement import Placement
from allograft.data.preprocess import Preprocess, prepare_case, prepare_mask

__all__ = ["Decoded", "decode"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Decoded:
    """A prepared case.

    Args:
        image: (C, *S) float32, or float16 where the settings say so.
        masks: (*S) int16 by head, for the heads that the case has.
        placement: where the image lies on its file's grid.
        cropped: whether labelled elements lay outside the crop.
    """

    image: Array
    masks: Mapping[str, Array]
    placement: Placement
    cropped: bool

    @property
    def lowest(self) -> tuple[float, ...]:
        """The smallest value of each channel."""
        return tuple(float(channel.min()) for channel in self.image)


def decode(case: Case, preprocess: Preprocess, heads: Sequence[str]) -> Decoded:
    """Read and prepare a case.

    Raises:
        DataError, ConfigError: a file cannot be read or prepared, or a mask does not fit; names the case.
    """
    try:
        image, placement = prepare_case(read_channels(case.image, dims=preprocess.dims), preprocess)
    except (DataError, ConfigError) as error:
        msg = f"case {case.id!r} ({', '.join(map(str, case.image))}): {error}"
        raise type(error)(msg) from error
    if preprocess.store_as == "float16":
        image = image.astype(np.float16)
    masks, cropped = {}, False
    for head in heads:
        target = case.targets.get(head)
        if isinstance(target, ImageRef):
            masks[head], outside = _mask(case, head, target, placement)
            cropped = cropped or outside
    return Decoded(image, masks, placement, cropped)


def _mask(case: Case, head: str, target: ImageRef, placement: Placement) -> tuple[Array, bool]:
    """Return a mask on the stored grid, and whether the crop cut labelled elements away."""
    try:
        whole = read_mask(target, onto=case.image[0], dims=placement.geometry.dims)
        return prepare_mask(whole, placement), _outside(whole, placement)
    except DataError as error:
        msg = f"case {case.id!r}, mask {head!r} ({target}): {error}"
        raise DataError(msg) from error


def _outside(mask: Image, placement: Placement) -> bool:
    if placement.box == Placement.whole(placement.geometry).box:
        return False
    labels = mask.array[0]
    return bool((labels > 0).sum() > (labels[placement.slices] > 0).sum())
