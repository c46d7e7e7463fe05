"""Slices: of each test case one slice with truth and prediction, kept with a run: what the report shows. No torch."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.atomic import write_bytes
from allograft.core.errors import DataError
from allograft.data.placement import Placement, nearest

__all__ = ["SLICES", "Slice", "cut_slice", "grey", "read_slice", "write_slice"]

SLICES = "slices"
"""Folder of a run: one file a case, by its pseudonym."""
LARGEST = 384
"""Longest side of a slice in pixels (ours): enough to see, and a report stays small."""
CLIPPED = 0.5
"""Per cent of the pixels that are shown as black, and as white (ours)."""

Array = npt.NDArray[Any]
Read = Callable[[tuple[slice, ...]], Array]


class Slice(NamedTuple):
    """One slice of a case, as it is shown: volumes with the front up and the patient's right on the left.

    Args:
        image: (H, W) uint8, the prepared image as the network read it.
        truth: (H, W) int16 classes, -1 where nothing is judged (everywhere where the case has no mask).
        labels: (H, W) int16, the predicted classes.
        spacing: distance between pixels along both axes.
        place: number of the slice, from 1 at the feet.
        of: how many there are; 1 for a picture.
    """

    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.int16]
    labels: npt.NDArray[np.int16]
    spacing: tuple[float, float]
    place: int
    of: int


def cut_slice(labels: Array, truth: Array | None, placement: Placement, read: Read) -> Slice:
    """Take the slice that holds most of the truth; of the prediction where nothing is true; else the middle one.

    Args:
        labels: (*S) predicted classes on the grid of `placement.geometry`, 2-D or 3-D.
        truth: (*S) true classes, below 0 what is not judged; None where there is no mask.
        placement: of the prepared image.
        read: returns a box of the prepared image, (C, *box).
    """
    geometry = placement.geometry
    known = np.full(labels.shape, -1, np.int16) if truth is None else truth.astype(np.int16)
    if labels.ndim == 2:
        return _shown(_image(placement, read, 0), known, labels, geometry.spacing, (1, 1))
    k = _fullest(known, labels)
    turned = (slice(None, None, -1),) * 2 if geometry.unit == "mm" else (slice(None),) * 2
    image = _image(placement, read, k)
    return _shown(image[turned], known[k][turned], labels[k][turned], geometry.spacing[1:], (k + 1, len(labels)))


def write_slice(path: Path, found: Slice) -> None:
    """Write a slice, compressed; it holds pixels and nothing that names anybody."""
    buffer = io.BytesIO()
    parts: dict[str, Any] = {name: np.asarray(value) for name, value in found._asdict().items()}
    np.savez_compressed(buffer, **parts)
    write_bytes(path, buffer.getvalue())


def read_slice(path: Path) -> Slice:
    """Return the slice that `write_slice` wrote.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            image, truth, labels = (np.asarray(file[name]) for name in ("image", "truth", "labels"))
            rows, columns = (float(value) for value in file["spacing"])
            return Slice(image, truth, labels, (rows, columns), int(file["place"]), int(file["of"]))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path}: no readable slice ({type(error).__name__}). Was the run made by an older version?"
        raise DataError(msg) from error


def _fullest(truth: Array, labels: Array) -> int:
    """Return the number of the slice to show."""
    for mask in (truth > 0, labels > 0):
        if (area := mask.sum(axis=(1, 2))).any():
            return int(area.argmax())
    return len(labels) // 2


def _image(placement: Placement, read: Read, k: int) -> Array:
    """Return slice k of the prepared image on the file's own grid, (H, W); black where it was cropped away."""
    whole = placement.geometry.shape[-2:]
    box = placement.box
    if len(box) == 3:
        first, end = box[0]
        if not first <= k < end:
            return np.zeros(whole, np.uint8)
        own = int((k - first + 0.5) * placement.shape[0] / (end - first))
        channels = read((slice(own, own + 1),))[:, 0]
    else:
        channels = read(())
    inner = box[-2:]
    out = np.zeros(whole, np.uint8)
    out[tuple(slice(*side) for side in inner)] = nearest(
        grey(channels, colours=len(box) == 2), tuple(end - first for first, end in inner)
    )
    return out


def grey(channels: Array, *, colours: bool) -> npt.NDArray[np.uint8]:
    """Return (C, H, W) as one plane, 0 to 255 between two percentiles: no window that a file declares is needed.

    Three channels are colours where `colours` says so, and are averaged; of several sequences the first is shown.
    """
    values = channels.mean(axis=0) if len(channels) == 3 and colours else channels[0]
    low, high = np.percentile(values, (CLIPPED, 100 - CLIPPED))
    scaled = (values - low) / (high - low) if high > low else np.zeros(values.shape)
    return np.asarray(np.rint(255 * np.clip(scaled, 0, 1)), np.uint8)


def _shown(image: Array, truth: Array, labels: Array, spacing: tuple[float, ...], place: tuple[int, int]) -> Slice:
    """Join the parts; shrink what is larger than a report needs."""
    rows, columns = image.shape
    shrink = min(1.0, LARGEST / max(rows, columns))
    shape = (max(1, round(rows * shrink)), max(1, round(columns * shrink)))
    return Slice(
        image=nearest(image.astype(np.uint8), shape),
        truth=nearest(truth.astype(np.int16), shape),
        labels=nearest(labels.astype(np.int16), shape),
        spacing=(spacing[0] * rows / shape[0], spacing[1] * columns / shape[1]),
        place=place[0],
        of=place[1],
    )
