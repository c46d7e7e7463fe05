"""Preprocess: what is done once to every image, before it is stored; the same for all recipes."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from allograft.core.config import Config
from allograft.core.errors import ConfigError, DataError
from allograft.data.io.image import Image
from allograft.data.placement import Placement
from allograft.data.resample import foreground_box, resize, shape_at

__all__ = ["Preprocess", "Space", "prepare", "prepare_case", "prepare_mask"]

Space = Literal["unit", "standard"]
"""What stored values are: in [0, 1], or zero mean and unit variance."""

Array = npt.NDArray[np.float32]

LUMA = (0.299, 0.587, 0.114)
"""Grey of a colour, ITU-R BT.601."""


class Preprocess(Config):
    """Place, size, channels and intensities, done in this order: crop, resample, intensities.

    Args:
        size: spatial size after resizing (linear, anti-aliased), slowest axis first; None keeps each
            image's own, which must then be the same for all unless training reads patches.
        spacing: distance between elements in mm after resampling (linear, anti-aliased), slowest axis
            first; "median" for the cohort's median along each axis, as in Med3D; None keeps each
            image's own. Not together with `size`.
        crop: "foreground" cuts each image to the smallest box that holds all values above the
            background: above `low` for "unit" and "window", other than 0 for "percentile" and
            "standard" (a CT, where air is not 0, needs "window" to be cropped).
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
    spacing: tuple[float, ...] | Literal["median"] | None = None
    crop: Literal["none", "foreground"] = "none"
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
        self._one_grid()
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

    def _one_grid(self) -> None:
        if self.spacing is not None and self.size is not None:
            msg = "size and spacing both say how many elements an image gets: give one of the two"
            raise ValueError(msg)
        if isinstance(self.spacing, tuple) and (len(self.spacing) not in {2, 3} or not min(self.spacing) > 0):
            msg = f"spacing has 2 or 3 axes of more than 0 mm, got {self.spacing}"
            raise ValueError(msg)

    @property
    def dims(self) -> int | None:
        """2 or 3 where size or spacing say so, else None."""
        given = self.spacing if isinstance(self.spacing, tuple) else self.size
        return None if given is None else len(given)

    @property
    def space(self) -> Space:
        """What the values are afterwards."""
        return "unit" if self.intensity in {"unit", "window"} else "standard"


def prepare(image: Image, spec: Preprocess) -> Array:
    """Return the image as it is stored, (C, *S) float32; as `prepare_case` without the placement."""
    return prepare_case(image, spec)[0]


def prepare_case(image: Image, spec: Preprocess) -> tuple[Array, Placement]:
    """Return the image as it is stored, and where that lies; the same in training and in prediction.

    Returns:
        (C, *S) float32, and its placement, which brings labels back to the image's grid.

    Raises:
        DataError: channels, axes, spacing or number type do not fit `spec`, or a value is not finite.
        ConfigError: the spacing has other axes than the image, or is still "median".
    """
    array = _channels(_finite(image.array), spec.channels)
    placement = _place(image, array, spec)
    array = resize(array[(slice(None), *placement.slices)], placement.shape)
    if spec.space == "unit":
        low, high = _limits(image, spec)
        scaled: Array = np.clip((array - np.float32(low)) / np.float32(high - low), np.float32(0), np.float32(1))
        return scaled, placement
    flat = array.reshape(len(array) if spec.per_channel else 1, -1)
    if spec.intensity == "percentile":
        low, high = np.percentile(flat, (0.5, 99.5), axis=1, keepdims=True)
        flat = np.clip(flat, low, high)
    return _standard(flat).reshape(array.shape), placement


def prepare_mask(image: Image, placement: Placement) -> npt.NDArray[np.int16]:
    """Return a mask on the grid of its prepared image: nearest neighbours, labels unchanged.

    Args:
        image: the mask, on the image's canonical grid; -1 marks elements that no loss and no score see.
        placement: of the prepared image.

    Returns:
        (*S) int16 labels.

    Raises:
        DataError: the mask has several channels, values that are not whole numbers in [-1, 32767], or
            another shape than the image.
    """
    labels = image.array
    if len(labels) != 1:
        msg = f"a mask has one channel, got {len(labels)}. Save labels as whole numbers in one channel."
        raise DataError(msg)
    if labels.min() < -1 or labels.max() > 32767 or (labels != np.rint(labels)).any():
        msg = f"mask values are whole numbers in [0, 32767], or -1, got {labels.min()} to {labels.max()}."
        raise DataError(msg)
    return placement.store(labels[0].astype(np.int16))


def _place(image: Image, array: Array, spec: Preprocess) -> Placement:
    """Return what is kept of an image, and how many elements it gets."""
    if spec.spacing == "median":
        msg = 'spacing "median" is of a cohort, not of an image: call resolve_spacing(cohort, preprocess) first.'
        raise ConfigError(msg)
    box = tuple((0, n) for n in image.geometry.shape)
    if spec.crop == "foreground":
        box = foreground_box(array, _limits(image, spec)[0] if spec.space == "unit" else None)
    sides = tuple(end - first for first, end in box)
    if spec.size is not None and len(spec.size) != image.dims:
        msg = f"the image {image.geometry.shape} is {image.dims}-D, preprocess.size has {len(spec.size)} axes."
        raise DataError(msg)
    shape = spec.size or sides
    if spec.spacing is not None:
        shape = shape_at(image.geometry, sides, spec.spacing)
    return Placement(geometry=image.geometry, box=box, shape=shape)


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
