"""Writing a store's arrays: every case is decoded once, in the cohort's order."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_channels
from allograft.data.io.mask import read_mask
from allograft.data.preprocess import Preprocess, prepare, prepare_mask

__all__ = ["IMAGES", "Written", "checksum", "mask_file", "mask_heads", "repair_rows", "write_arrays"]

IMAGES = "images.npy"
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Written:
    """What was written: shape (C, *S) of a row, checksums by file, ids of constant images."""

    shape: tuple[int, ...]
    checksums: Mapping[str, tuple[str, ...]]
    constant: tuple[str, ...]


def checksum(row: Array) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest()


def mask_file(head: str) -> str:
    """Return the name of the array that holds the masks of `head`."""
    return f"mask-{head.encode().hex() if not head.isidentifier() else head}.npy"


def mask_heads(cohort: Cohort) -> list[str]:
    """Return the heads whose targets are masks, sorted."""
    return sorted({head for case in cohort for head, value in case.targets.items() if isinstance(value, ImageRef)})


def write_arrays(
    folder: Path, cohort: Cohort, preprocess: Preprocess, progress: Callable[[int, int], None] | None = None
) -> Written:
    """Decode every case of a cohort, which has at least one, into arrays in `folder`.

    Raises:
        DataError: a case cannot be read or prepared, or differs in shape from the first.
    """
    heads = mask_heads(cohort)
    shape = _decode(cohort.cases[0], preprocess).shape
    half = preprocess.store_as == "float16"
    images = _create(folder / IMAGES, np.float16 if half else np.float32, (len(cohort), *shape))
    masks = {head: _create(folder / mask_file(head), np.int16, (len(cohort), *shape[1:])) for head in heads}
    constant, exact = [], preprocess.store_as == "auto" and preprocess.space == "unit"
    for i, case in enumerate(cohort):
        row = _decode(case, preprocess, expect=shape)
        images[i] = row
        exact = exact and bool((_as_bytes(row) / np.float32(255) == row).all())
        if row.min() == row.max():
            constant.append(case.id)
        for head, mask in masks.items():
            mask[i] = _decode_mask(case, head, preprocess, expect=shape[1:])
        if progress is not None:
            progress(i + 1, len(cohort))
    images.flush()
    if exact:
        images = _to_bytes(folder / IMAGES, images)
    sums = {mask_file(head): tuple(map(checksum, mask)) for head, mask in masks.items()}
    return Written(shape, {IMAGES: tuple(map(checksum, images)), **sums}, tuple(constant))


def repair_rows(folder: Path, cohort: Cohort, preprocess: Preprocess, ids: Sequence[str]) -> None:
    """Decode the rows of `ids` again; whoever has the old array open keeps it unharmed."""
    place = {name: i for i, name in enumerate(cohort.ids)}
    for file, head in [(IMAGES, ""), *((mask_file(head), head) for head in mask_heads(cohort))]:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".repair-") as aside:
            copy = Path(shutil.copy(folder / file, aside))
            array = np.load(copy, mmap_mode="r+", allow_pickle=False)
            for name in ids:
                row = array[place[name]]
                if head:
                    row[...] = _decode_mask(cohort[name], head, preprocess, expect=row.shape)
                else:
                    decoded = _decode(cohort[name], preprocess, expect=row.shape)
                    row[...] = _as_bytes(decoded) if array.dtype == np.uint8 else decoded
            array.flush()
            copy.replace(folder / file)


def _decode(case: Case, preprocess: Preprocess, *, expect: tuple[int, ...] | None = None) -> npt.NDArray[np.float32]:
    try:
        image = read_channels(case.image, dims=None if preprocess.size is None else len(preprocess.size))
        row = prepare(image, preprocess)
    except DataError as error:
        msg = f"case {case.id!r} ({', '.join(map(str, case.image))}): {error}"
        raise DataError(msg) from error
    if expect is not None and row.shape != expect:
        msg = (
            f"case {case.id!r} ({case.image[0]}): shape (channels, *size) {row.shape} differs from {expect} of the "
            "cases before it. Set preprocess.size (and channels) so that all become alike."
        )
        raise DataError(msg)
    return row


def _decode_mask(case: Case, head: str, preprocess: Preprocess, *, expect: tuple[int, ...]) -> Array:
    target = case.targets.get(head)
    if not isinstance(target, ImageRef):
        return np.zeros(expect, np.int16)
    try:
        mask = prepare_mask(read_mask(target, onto=case.image[0], dims=len(expect)), preprocess)
    except DataError as error:
        msg = f"case {case.id!r}, mask {head!r} ({target}): {error}"
        raise DataError(msg) from error
    if mask.shape != expect:
        msg = (
            f"case {case.id!r}: mask grid {mask.shape} ({target}) differs from image grid {expect}. "
            "Re-export the mask or leave the case out."
        )
        raise DataError(msg)
    return mask


def _create(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _as_bytes(row: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    out: npt.NDArray[np.float32] = np.rint(row * np.float32(255))
    return out


def _to_bytes(path: Path, images: Array) -> np.memmap[Any, np.dtype[Any]]:
    """Rewrite values that are all k / 255 as k: a quarter of the disk, and exact."""
    aside = path.with_suffix(".bytes")
    small = _create(aside, np.uint8, images.shape)
    for i, row in enumerate(images):
        small[i] = _as_bytes(row)
    small.flush()
    aside.replace(path)
    return small
