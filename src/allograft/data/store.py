"""Store: images decoded and prepared once, kept in memory-mapped arrays and checked on opening.

A store's folder is named by what is in it: the content of every file, the preprocessing and the
version of this code. Changed files or settings therefore make another store, and an old one is
never read by mistake. Every case's arrays carry their SHA-256; those that no longer fit are decoded
again and named in `repaired`.

    FOLDER/<key>/index.json          StoreIndex

where all images have one shape

    FOLDER/<key>/images.npy          (N, C, *S)
    FOLDER/<key>/mask-<head>.npy     (N, *S) labels, where targets are masks

where they differ in size (segmentation; others only where asked for)

    FOLDER/<key>/images/<i>.npy      (C, *S) of case i
    FOLDER/<key>/mask-<head>/<i>.npy (*S), for the cases that have the mask

and in both

    FOLDER/<key>/places-<head>/<i>.npy   where the elements of each class lie, for patches
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from allograft.core.errors import DataError
from allograft.data.cohort import Cohort
from allograft.data.placement import Placement
from allograft.data.preprocess import Preprocess, Space
from allograft.data.spacing import resolve_spacing
from allograft.data.store_files import StoreFiles
from allograft.data.store_index import StoreIndex, image_part, mask_part, places_part
from allograft.data.store_key import mask_heads, store_key
from allograft.data.store_write import repair_rows, write_store

__all__ = ["Box", "Store"]

Box = tuple[slice, ...]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Store:
    """An opened store; picklable, arrays are mapped on first use.

    Args:
        path: the folder FOLDER/<key>.
        index: what is in it.
        repaired: ids whose arrays were damaged and have been decoded again on this opening.
    """

    path: Path
    index: StoreIndex
    repaired: tuple[str, ...] = ()

    @classmethod
    def build(
        cls,
        cohort: Cohort,
        preprocess: Preprocess,
        folder: Path,
        *,
        progress: Callable[[int, int], None] | None = None,
        verify: bool = True,
        ragged: bool | None = None,
    ) -> Store:
        """Open the store of a cohort, building it first where it is not there.

        Two processes may build the same store at once: who renames first wins, both get it.

        Args:
            cohort: all cases that may ever be asked for, training and test alike.
            preprocess: what is done to each image; a median spacing is taken over the cohort.
            folder: where stores lie, one folder each.
            progress: called with (done, total) after each decoded case.
            verify: read everything and compare checksums, about a second per GB.
            ragged: whether images may differ in size; None for segmentations only.

        Raises:
            DataError: a case cannot be read, or images differ in shape and may not; named by id.
        """
        if ragged is None:
            ragged = cohort.task.kind == "segmentation" or bool(mask_heads(cohort))
        preprocess = resolve_spacing(cohort, preprocess)
        final = folder / store_key(cohort, preprocess, folder)
        write = partial(write_store, cohort=cohort, preprocess=preprocess, progress=progress, ragged=ragged)
        if not final.exists():
            write(final)
            return cls.open(final, verify=False)
        try:
            store = cls.open(final, verify=False)
        except DataError:  # the index, or an array as a whole
            return _again(final, write)
        if not ragged:
            _ = store.shape  # refuses a store of another task's making whose images differ
        bad = store.damaged() if verify else ()
        if not bad:
            return store
        repair_rows(final, cohort, store.index, bad)
        mended = cls(final, store.index, repaired=bad)
        # Another version of a decoder: arrays of two kinds must not be mixed.
        return _again(final, write) if mended.damaged() else mended

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Store:
        """Open a store that is there.

        Raises:
            DataError: it is not there, unreadable or damaged; names the damaged ids.
        """
        try:
            index = StoreIndex.model_validate_json((path / "index.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, ValidationError) as error:
            msg = f"{path}: not a readable store ({type(error).__name__}). Build it again with Store.build."
            raise DataError(msg) from error
        store = cls(path, index)
        for part in index.checksums:
            if part.endswith(".npy"):
                store._files.stack(part)
        bad = store.damaged() if verify else ()
        if bad:
            msg = f"{path}: {len(bad)} of {len(index.ids)} cases are damaged, first {bad[0]!r}. Store.build mends them."
            raise DataError(msg)
        return store

    def __reduce__(self) -> tuple[type[Store], tuple[Any, ...]]:
        """Travel to workers without the mapped arrays."""
        return Store, (self.path, self.index, self.repaired)

    @property
    def uniform(self) -> bool:
        """Whether all images have one shape."""
        return self.index.uniform

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return self.index.channels

    @property
    def dims(self) -> int:
        """2 or 3."""
        return self.index.dims

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *S) of every image.

        Raises:
            DataError: the images differ in size.
        """
        if not self.uniform:
            sizes = sorted({grid.shape for grid in self.index.grids})
            msg = (
                f"{self.path}: the images have {len(sizes)} different sizes, from {sizes[0]} to {sizes[-1]}, and "
                "cannot be used as a whole. Set patches, or preprocess.size so that all become alike."
            )
            raise DataError(msg)
        return self.index.shape

    @property
    def space(self) -> Space:
        """What the values are: "unit" or "standard"."""
        return self.index.space

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a report must carry."""
        if not self.repaired:
            return self.index.notes
        mended = f"{len(self.repaired)} damaged store entries were decoded again (first: {self.repaired[0]})."
        return (*self.index.notes, mended)

    def image(self, name: str, box: Box = ()) -> npt.NDArray[np.float32]:
        """Return the image of a case, (C, *S) float32.

        Args:
            name: the case's id.
            box: slices along the spatial axes; only that part is read.

        Raises:
            DataError: the id is not in the store, or its file is damaged.
        """
        row = self._files.row(name)
        return _floats(np.array(self._files.array(image_part(self.uniform), row)[(slice(None), *box)]))

    def mask(self, name: str, head: str, box: Box = ()) -> npt.NDArray[np.int64]:
        """Return the mask of a case, (*S) int64; -1 is to be ignored; zeros where the case has none.

        Args:
            name: the case's id.
            head: of the target.
            box: slices along the axes; only that part is read.

        Raises:
            DataError: the id or the head is not in the store, or the file is damaged.
        """
        row = self._files.row(name)
        part = self._mask_part(head)
        if not self.index.checksums[part][row]:
            return np.zeros(self.placement(name).shape, np.int64)[box]
        return self._files.array(part, row)[box].astype(np.int64)

    def has_mask(self, name: str, head: str) -> bool:
        """Tell whether a case came with a mask of `head`."""
        sums = self.index.checksums.get(places_part(head))
        return sums is not None and bool(sums[self._files.row(name)])

    def placement(self, name: str) -> Placement:
        """Return where the stored image of a case lies on the grid of its file."""
        return self.index.grids[self.index.grid_of[self._files.row(name)]]

    def lowest(self, name: str) -> npt.NDArray[np.float32]:
        """Return the smallest value of each channel of a case's image, (C,)."""
        return np.asarray(self.index.lowest[self._files.row(name)], np.float32)

    def places(self, name: str, head: str) -> Mapping[int, npt.NDArray[np.uint32]]:
        """Return by class above 0 some flat positions of its elements in the case's mask, all where they are few.

        Empty for a case without a mask of `head`.
        """
        row = self._files.row(name)
        self._mask_part(head)
        counts = self.index.places[head][row]
        if not counts:
            return {}
        ends = np.cumsum([count for _, count in counts])
        parts = np.split(self._files.array(places_part(head), row), ends[:-1])
        return {label: part for (label, _), part in zip(counts, parts, strict=True)}

    def rows(self, ids: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the images of `ids` in that order, (n, C, *S) float32; an id may occur twice.

        Raises:
            DataError: an id is not in the store, or the images differ in size.
        """
        _ = self.shape
        return _floats(self._files.stack(image_part(uniform=True))[[self._files.row(name) for name in ids]])

    def masks(self, ids: Sequence[str], head: str) -> npt.NDArray[np.int64]:
        """Return the masks of `ids`, (n, *S) int64; zeros where a case has none.

        Raises:
            DataError: an id or a head is not in the store, or the images differ in size.
        """
        _ = self.shape
        return self._files.stack(self._mask_part(head))[[self._files.row(name) for name in ids]].astype(np.int64)

    def damaged(self) -> tuple[str, ...]:
        """Return the ids of which any array does not fit its checksum; reads everything once."""
        return self._files.damaged()

    @cached_property
    def _files(self) -> StoreFiles:
        return StoreFiles(self.path, self.index)

    def _mask_part(self, head: str) -> str:
        part = mask_part(head, self.uniform)
        if part not in self.index.checksums:
            msg = f"{self.path}: no masks for head {head!r}. The cohort that built the store had no mask targets of it."
            raise DataError(msg)
        return part


def _again(path: Path, write: Callable[[Path], None]) -> Store:
    """Build a store anew over one that cannot be used."""
    aside = path.with_name(f".{path.name}.damaged-{os.getpid()}")
    with suppress(OSError):  # another process may have taken it away already
        path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    write(path)
    index = Store.open(path, verify=False).index
    return Store(path, index, repaired=index.ids)


def _floats(array: Array) -> npt.NDArray[np.float32]:
    """Return stored values as they are meant."""
    if array.dtype == np.uint8:  # stored as k where the value is exactly k / 255
        return cast("npt.NDArray[np.float32]", array.astype(np.float32) / np.float32(255))
    return array.astype(np.float32, copy=False)
