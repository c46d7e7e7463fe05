"""Preprocess: what is done once to every image, before it is stored; the same for all recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator

from allograft.core.config import Config
from allograft.core.errors import DataError
from allograft.data.io.image import Image

__all__ = ["Preprocess", "Space", "prepare", "prepare_mask", "resize"]

Space = Literal["unit", "standard"]
"""What stored values are: in [0, 1], or zero mean and unit variance."""

Array = npt.NDArray[np.float32]

LUMA = (0.299, 0.587, 0.114)
"""Grey of a colour, ITU-R BT.601."""


class Preprocess(Config):
    """Size, channels and intensities.

    Args:
        size: spatial size after resizing (linear, anti-aliased), slowest axis first; None keeps the
            size and demands that all images have the same.
        channels: 1 makes colour grey (BT.601), 3 repeats grey; None keeps, and other changes are refused.
        intensity: "unit": [low, high], or the file format's full range, to [0, 1], clipped.
            "window": the same with `low` and `high` required (HU). "percentile": clipped to the 0.5th
            and 99.5th percentile, then as "standard". "standard": zero mean, unit variance; a constant
            image gives zeros.
        low: darkest value, in the image's own units.
        high: brightest value.
        per_channel: percentile, mean and variance of each channel (MR sequences), or of all
            together (colour).
        store_as: "auto" stores float32, or uint8 where that is exact; "float16" halves the disk at
            about three digits.
    """

    size: tuple[int, ...] | None = None
    channels: Literal[1, 3] | None = None
    intensity: Literal["unit", "window", "percentile", "standard"] = "unit"
    low: float | None = None
    high: float | None = None
    per_channel: bool = True
    store_as: Literal["auto", "float32", "float16"] = Field(default="auto")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.size is not None and (len(self.size) not in {2, 3} or min(self.size) < 1):
            msg = f"size has 2 or 3 axes of at least 1, got {self.size}"
            raise ValueError(msg)
        if (self.low is None) != (self.high is None):
            msg = "low and high are given together"
            raise ValueError(msg)
        if self.low is not None and self.high is not None and self.high <= self.low:
            msg = f"high ({self.high}) must exceed low ({self.low})"
            raise ValueError(msg)
        if self.low is not None and self.space == "standard":
            msg = f'low and high do nothing with intensity "{self.intensity}": remove them, or use "window"'
            raise ValueError(msg)
        if self.intensity == "window" and self.low is None:
            msg = 'intensity "window" needs low and high, for example -1000 and 400 for lung in HU'
            raise ValueError(msg)
        return self

    @property
    def space(self) -> Space:
        """What the values are afterwards."""
        return "unit" if self.intensity in {"unit", "window"} else "standard"


def prepare(image: Image, spec: Preprocess) -> Array:
    """Return the image as it is stored.

    Returns:
        (C, *S) float32.

    Raises:
        DataError: channels, axes or number type do not fit `spec`, or a value is not finite.
    """
    array = _channels(_finite(image.array), spec.channels)
    if spec.size is not None:
        if len(spec.size) != image.dims:
            msg = f"the image {image.geometry.shape} is {image.dims}-D, preprocess.size has {len(spec.size)} axes."
            raise DataError(msg)
        array = resize(array, spec.size)
    if spec.space == "unit":
        low, high = _limits(image, spec)
        scaled: Array = np.clip((array - np.float32(low)) / np.float32(high - low), np.float32(0), np.float32(1))
        return scaled
    flat = array.reshape(len(array) if spec.per_channel else 1, -1)
    if spec.intensity == "percentile":
        low, high = np.percentile(flat, (0.5, 99.5), axis=1, keepdims=True)
        flat = np.clip(flat, low, high)
    return _standard(flat).reshape(array.shape)


def prepare_mask(image: Image, spec: Preprocess) -> npt.NDArray[np.int16]:
    """Return a mask on the grid of its prepared image: nearest neighbours, labels unchanged.

    Returns:
        (*S) int16 labels.

    Raises:
        DataError: the mask has several channels, or values that are not whole numbers in [0, 32767].
    """
    labels = image.array
    if len(labels) != 1:
        msg = f"a mask has one channel, got {len(labels)}. Save labels as whole numbers in one channel."
        raise DataError(msg)
    if labels.min() < 0 or labels.max() > 32767 or (labels != np.rint(labels)).any():
        msg = f"mask values are whole numbers in [0, 32767], got {labels.min()} to {labels.max()}."
        raise DataError(msg)
    out = labels[0].astype(np.int16)
    for axis, size in enumerate(spec.size or ()):
        place = (np.arange(size) + 0.5) * out.shape[axis] / size
        out = np.take(out, place.astype(int), axis=axis)
    return np.ascontiguousarray(out)


def resize(array: Array, size: Sequence[int]) -> Array:
    """Resize (C, *S) to (C, *size): linear, with the filter widened where the image shrinks.

    One axis at a time, so that volumes get the same filter as pictures.
    """
    out = torch.from_numpy(np.ascontiguousarray(array))
    for axis, length in enumerate(size, start=1):
        if out.shape[axis] == length:
            continue
        lines = out.movedim(axis, -1)
        flat = lines.reshape(1, 1, -1, lines.shape[-1])
        new = F.interpolate(flat, size=(flat.shape[2], length), mode="bilinear", antialias=True, align_corners=False)
        out = new.reshape(*lines.shape[:-1], length).movedim(-1, axis)
    return np.ascontiguousarray(out.numpy())


def _finite(array: npt.NDArray[Any]) -> Array:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        msg = (
            f"{int((~np.isfinite(array)).sum())} of {array.size} values are not finite. "
            "Replace them (NaN outside the scan is usually background), or leave the case out."
        )
        raise DataError(msg)
    return array.astype(np.float32)


def _channels(array: Array, wanted: int | None) -> Array:
    have = len(array)
    if wanted is None or wanted == have:
        return array
    if (have, wanted) == (3, 1):
        return np.tensordot(np.asarray(LUMA, np.float32), array, axes=1)[None]
    if (have, wanted) == (1, 3):
        return np.repeat(array, 3, axis=0)
    msg = f"the image has {have} channels, preprocess.channels is {wanted}: only grey and RGB convert into each other."
    raise DataError(msg)


def _limits(image: Image, spec: Preprocess) -> tuple[float, float]:
    if spec.low is not None and spec.high is not None:
        return spec.low, spec.high
    if image.full_range is not None:
        return image.full_range
    if not image.array.any():  # all black: zero in any range
        return 0.0, 1.0
    msg = (
        f"values of type {image.array.dtype} ({image.array.min():g} to {image.array.max():g}"
        f"{' ' + image.units if image.units else ''}) have no full range to scale by. "
        'Set preprocess: {intensity: window, low: ..., high: ...}, or intensity "percentile" or "standard".'
    )
    raise DataError(msg)


def _standard(flat: npt.NDArray[Any]) -> Array:
    """Return rows with zero mean and unit variance; constant rows give zeros."""
    wide = flat.astype(np.float64)
    centred = wide - wide.mean(1, keepdims=True)
    std = wide.std(1, keepdims=True)
    constant = wide.max(1, keepdims=True) == wide.min(1, keepdims=True)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, std)).astype(np.float32)
