"""Writing a store's arrays: every case is decoded once, in the cohort's order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.atomic import folder_aside
from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.placement import Placement
from allograft.data.places import class_places
from allograft.data.preprocess import Preprocess
from allograft.data.store_arrays import Arrays, as_bytes, save_row
from allograft.data.store_decode import Decoded, decode
from allograft.data.store_index import StoreIndex, case_file, image_part, mask_part, places_part
from allograft.data.store_key import mask_heads

__all__ = ["Written", "repair_rows", "write_arrays", "write_store"]

Array = npt.NDArray[Any]
Counts = tuple[tuple[int, int], ...]


@dataclass
class Written:
    """What was written, as `StoreIndex` names it; filled case by case."""

    shape: tuple[int, ...] = ()
    uniform: bool = True
    checksums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lowest: list[tuple[float, ...]] = field(default_factory=list)
    grids: dict[str, tuple[int, Placement]] = field(default_factory=dict)
    grid_of: list[int] = field(default_factory=list)
    places: dict[str, list[Counts]] = field(default_factory=dict)
    constant: list[str] = field(default_factory=list)
    cropped: list[str] = field(default_factory=list)

    def note(self, name: str, found: Decoded) -> None:
        """Keep the facts of the next case."""
        self.shape = self.shape or found.image.shape
        self.lowest.append(found.lowest)
        key = found.placement.model_dump_json()
        self.grid_of.append(self.grids.setdefault(key, (len(self.grids), found.placement))[0])
        if found.image.min() == found.image.max():
            self.constant.append(name)
        if found.cropped:
            self.cropped.append(name)

    def index(self, key: str, ids: tuple[str, ...], preprocess: Preprocess) -> StoreIndex:
        """Return the index of a store that holds this."""
        return StoreIndex(
            key=key,
            ids=ids,
            uniform=self.uniform,
            channels=self.shape[0],
            dims=len(self.shape) - 1,
            shape=self.shape if self.uniform else (),
            space=preprocess.space,
            checksums=self.checksums,
            lowest=tuple(self.lowest),
            grids=tuple(placement for _, placement in self.grids.values()),
            grid_of=tuple(self.grid_of),
            places={head: tuple(counts) for head, counts in self.places.items()},
            constant=tuple(self.constant),
            cropped=tuple(self.cropped),
            preprocess=preprocess,
        )


def write_store(
    final: Path,
    *,
    cohort: Cohort,
    preprocess: Preprocess,
    progress: Callable[[int, int], None] | None = None,
    ragged: bool = False,
) -> None:
    """Write a whole store aside, then rename it to `final`; as `write_arrays`, with the index.

    Raises:
        DataError: as `write_arrays`, or there are no cases.
    """
    if not cohort.cases:
        msg = f"cohort {cohort.name}: no cases, so there is nothing to store."
        raise DataError(msg)
    with folder_aside(final) as aside:
        written = write_arrays(aside, cohort, preprocess, progress, ragged=ragged)
        index = written.index(final.name, cohort.ids, preprocess)
        (aside / "index.json").write_text(index.model_dump_json(), encoding="utf-8")


def write_arrays(
    folder: Path,
    cohort: Cohort,
    preprocess: Preprocess,
    progress: Callable[[int, int], None] | None = None,
    *,
    ragged: bool = False,
) -> Written:
    """Decode every case of a cohort, which has at least one, into arrays in `folder`.

    Args:
        folder: empty.
        cohort: the cases.
        preprocess: with numbers for a median spacing.
        progress: called with (done, total) after each case.
        ragged: whether cases may differ in size; if any does, each gets files of its own.

    Raises:
        DataError: a case cannot be read or prepared, or differs in shape from the first and may not.
    """
    heads = mask_heads(cohort)
    compact = _compact(preprocess)
    images = Arrays(folder, "images", len(cohort), compact=compact)
    masks = {head: Arrays(folder, mask_part(head, uniform=False), len(cohort)) for head in heads}
    places = {head: Arrays(folder, places_part(head), len(cohort), stacked=False) for head in heads}
    out = Written(places={head: [] for head in heads})
    for i, case in enumerate(cohort):
        found = decode(case, preprocess, heads)
        shape = out.shape or found.image.shape
        if found.image.shape != shape:
            _require_may_differ(case, found, shape, ragged)
            if images.stacked:
                images.split(compact=compact)
                for array in masks.values():
                    array.split()
        images.put(found.image)
        for head in heads:
            mask = found.masks.get(head)
            masks[head].put(mask)
            spots, counts = class_places(mask, case.id) if mask is not None else (None, ())
            places[head].put(spots)
            out.places[head].append(counts)
        out.note(case.id, found)
        if progress is not None:
            progress(i + 1, len(cohort))
    out.uniform = images.stacked
    parts = (images, *masks.values(), *places.values())
    out.checksums = {array.part: array.finish() for array in parts}
    return out


def _require_may_differ(case: Case, found: Decoded, shape: tuple[int, ...], ragged: bool) -> None:
    """Refuse another number of channels, and another size where sizes may not differ."""
    if ragged and len(found.image) == shape[0] and found.image.ndim == len(shape):
        return
    advice = "Set preprocess.size (and channels) so that all become alike."
    if ragged:
        advice = "Sizes may differ, channels and axes may not: set preprocess.channels, or leave the case out."
    msg = (
        f"case {case.id!r} ({case.image[0]}): shape (channels, *size) {found.image.shape} differs from {shape} of the "
        f"cases before it. {advice}"
    )
    raise DataError(msg)


def repair_rows(folder: Path, cohort: Cohort, index: StoreIndex, ids: Sequence[str]) -> None:
    """Decode the arrays of `ids` again; whoever has an old file open keeps it unharmed."""
    damaged = [i for i, name in enumerate(index.ids) if name in set(ids)]
    for part, sums in index.checksums.items():
        rows = ((i, _array(cohort[index.ids[i]], index.preprocess, part)) for i in damaged if sums[i])
        if part.endswith(".npy"):
            _mend(folder / part, rows)
            continue
        compact = part == image_part(uniform=False) and _compact(index.preprocess)
        for i, row in rows:
            save_row(folder / case_file(part, i), row, compact=compact)


def _mend(path: Path, rows: Iterator[tuple[int, Array]]) -> None:
    """Put rows into a copy of a stacked array, and the copy into its place."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".repair-") as aside:
        copy = Path(shutil.copy(path, aside))
        stack = np.load(copy, mmap_mode="r+", allow_pickle=False)
        for i, row in rows:
            small = as_bytes(row) if stack.dtype == np.uint8 else None
            stack[i] = row if small is None else small
        stack.flush()
        copy.replace(path)


def _array(case: Case, preprocess: Preprocess, part: str) -> Array:
    """Return one case's array of a part."""
    heads = [head for head, value in case.targets.items() if isinstance(value, ImageRef)]
    found = decode(case, preprocess, heads)
    for head, mask in found.masks.items():
        if part == places_part(head):
            return class_places(mask, case.id)[0]
        if part.removesuffix(".npy") == mask_part(head, uniform=False):
            return mask
    blank = np.zeros(found.placement.shape, np.int16)
    return found.image if part.removesuffix(".npy") == image_part(uniform=False) else blank


def _compact(preprocess: Preprocess) -> bool:
    """Tell whether images may be stored as bytes where that is exact."""
    return preprocess.store_as == "auto" and preprocess.space == "unit"
