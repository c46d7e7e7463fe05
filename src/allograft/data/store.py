"""Store: images decoded and prepared once, kept in one memory-mapped array and checked on opening.

A store's folder is named by what is in it: the content of every file, the preprocessing and the
version of this code. Changed files or settings therefore make another store, and an old one is
never read by mistake. Every row carries its SHA-256; rows that no longer fit are decoded again and
named in `repaired`.

    FOLDER/<key>/index.json          StoreIndex
    FOLDER/<key>/images.npy          (N, C, *S)
    FOLDER/<key>/mask-<head>.npy     (N, *S) labels, where targets are masks
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from allograft.core.atomic import folder_aside
from allograft.core.config import Config, canonical_json
from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.content import file_hashes
from allograft.data.preprocess import Preprocess, Space
from allograft.data.store_write import IMAGES, checksum, mask_file, mask_heads, repair_rows, write_arrays

__all__ = ["VERSION", "Store", "StoreIndex"]

VERSION = 1
"""Raised whenever the same file and preprocessing would give other values."""


class StoreIndex(Config):
    """What a store holds.

    Args:
        key: the folder's name.
        ids: case ids in the order of the rows.
        shape: (C, *S) of every row.
        space: what the values are.
        checksums: by file, the SHA-256 of each row.
        constant: ids of images whose values are all alike; standardised they are zeros.
        preprocess: how the rows were made.
    """

    key: str
    ids: tuple[str, ...]
    shape: tuple[int, ...]
    space: Space
    checksums: Mapping[str, tuple[str, ...]]
    constant: tuple[str, ...] = ()
    preprocess: Preprocess


@dataclass(frozen=True)
class Store:
    """An opened store; picklable, the array is mapped on first use.

    Args:
        path: the folder FOLDER/<key>.
        index: what is in it.
        repaired: ids whose rows were damaged and have been decoded again on this opening.
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
    ) -> Store:
        """Open the store of a cohort, building it first where it is not there.

        Two processes may build the same store at once: who renames first wins, both get it.

        Args:
            cohort: all cases that may ever be asked for, training and test alike.
            preprocess: what is done to each image.
            folder: where stores lie, one folder each.
            progress: called with (done, total) after each decoded case.
            verify: read the whole array and compare checksums, about a second per GB.

        Raises:
            DataError: a case cannot be read, or images differ in shape; named by id.
        """
        key = _key(cohort, preprocess, folder)
        final = folder / key
        if not final.exists():
            _write(cohort, preprocess, final, progress)
            return cls.open(final, verify=False)
        try:
            store = cls.open(final, verify=False)
        except DataError:  # the index, or an array as a whole
            return _again(cohort, preprocess, final, progress)
        bad = store.damaged() if verify else ()
        if not bad:
            return store
        repair_rows(final, cohort, preprocess, bad)
        if store.damaged():  # another version of a decoder: rows of two kinds must not be mixed
            return _again(cohort, preprocess, final, progress)
        return cls(final, store.index, repaired=bad)

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
        for name in index.checksums:
            store._check_file(name)
        bad = store.damaged() if verify else ()
        if bad:
            msg = f"{path}: {len(bad)} of {len(index.ids)} cases are damaged, first {bad[0]!r}. Store.build mends them."
            raise DataError(msg)
        return store

    def __reduce__(self) -> tuple[type[Store], tuple[Path, StoreIndex, tuple[str, ...]]]:
        """Travel to workers without the mapped array."""
        return Store, (self.path, self.index, self.repaired)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *S) of every row."""
        return self.index.shape

    @property
    def space(self) -> Space:
        """What the values are: "unit" or "standard"."""
        return self.index.space

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a report must carry."""
        out = []
        if self.index.constant:
            few = ", ".join(self.index.constant[:3])
            out.append(f"{len(self.index.constant)} images hold one constant value (first: {few}).")
        if self.repaired:
            out.append(f"{len(self.repaired)} damaged store entries were decoded again (first: {self.repaired[0]}).")
        return tuple(out)

    def rows(self, ids: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the images of `ids` in that order, (n, C, *S) float32; an id may occur twice.

        Raises:
            DataError: an id is not in the store.
        """
        found = self._images[self._places(ids)]
        if found.dtype == np.uint8:  # stored as k where the value is exactly k / 255
            return cast("npt.NDArray[np.float32]", found.astype(np.float32) / np.float32(255))
        return found.astype(np.float32, copy=False)

    def masks(self, ids: Sequence[str], head: str) -> npt.NDArray[np.int64]:
        """Return the masks of `ids`, (n, *S) int64; zeros where a case has none.

        Raises:
            DataError: an id or a head is not in the store.
        """
        name = mask_file(head)
        if name not in self.index.checksums:
            msg = f"{self.path}: no masks for head {head!r}. The cohort that built the store had no mask targets of it."
            raise DataError(msg)
        return self._map(name)[self._places(ids)].astype(np.int64)

    def damaged(self) -> tuple[str, ...]:
        """Return the ids of which any row does not fit its checksum; reads everything once."""
        bad: set[int] = set()
        for name, sums in self.index.checksums.items():
            array = self._map(name)
            bad |= {i for i, expected in enumerate(sums) if checksum(array[i]) != expected}
        return tuple(self.index.ids[i] for i in sorted(bad))

    @cached_property
    def _images(self) -> npt.NDArray[Any]:
        return self._map(IMAGES)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.index.ids)}

    def _places(self, ids: Sequence[str]) -> list[int]:
        try:
            return [self._row_of[name] for name in ids]
        except KeyError as error:
            msg = (
                f"{self.path}: no case {error.args[0]!r} in this store of {len(self.index.ids)}. Build one that has it."
            )
            raise DataError(msg) from error

    def _map(self, name: str) -> npt.NDArray[Any]:
        return cast("npt.NDArray[Any]", np.load(self.path / name, mmap_mode="r", allow_pickle=False))

    def _check_file(self, name: str) -> None:
        shape = self.shape if name == IMAGES else self.shape[1:]
        try:
            found = self._map(name).shape
        except (OSError, ValueError, EOFError) as error:
            msg = f"{self.path / name}: missing or cut short. Build the store again with Store.build."
            raise DataError(msg) from error
        if found != (len(self.index.ids), *shape):
            msg = f"{self.path / name}: holds {found}, expected {(len(self.index.ids), *shape)}. Build the store again."
            raise DataError(msg)


def _again(cohort: Cohort, preprocess: Preprocess, final: Path, progress: Callable[[int, int], None] | None) -> Store:
    """Build a store anew over one that cannot be used."""
    aside = final.with_name(f".{final.name}.damaged-{os.getpid()}")
    with suppress(OSError):  # another process may have taken it away already
        final.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    _write(cohort, preprocess, final, progress)
    return Store(final, Store.open(final, verify=False).index, repaired=cohort.ids)


def _write(cohort: Cohort, preprocess: Preprocess, final: Path, progress: Callable[[int, int], None] | None) -> None:
    if not cohort.cases:
        msg = f"cohort {cohort.name}: no cases, so there is nothing to store."
        raise DataError(msg)
    with folder_aside(final) as aside:
        written = write_arrays(aside, cohort, preprocess, progress)
        index = StoreIndex(
            key=final.name,
            ids=cohort.ids,
            shape=written.shape,
            space=preprocess.space,
            checksums=written.checksums,
            constant=written.constant,
            preprocess=preprocess,
        )
        (aside / "index.json").write_text(index.model_dump_json(), encoding="utf-8")


def _key(cohort: Cohort, preprocess: Preprocess, folder: Path) -> str:
    """Return the folder name of a cohort's store."""
    heads = mask_heads(cohort)
    refs = [ref for case in cohort for ref in _refs(case, heads)]
    try:
        hashes = file_hashes((ref.path for ref in refs), folder / "content.json")
    except OSError as error:
        name = next((c.id for c in cohort for r in _refs(c, heads) if str(r.path) == str(error.filename)), "?")
        msg = (
            f"case {name!r}: {error.filename} cannot be read ({error.strerror}). Check the path, or leave the case out."
        )
        raise DataError(msg) from error
    cases = [[c.id, len(c.image), [[hashes[r.path], r.key, r.row] for r in _refs(c, heads)]] for c in cohort]
    text = canonical_json({"version": VERSION, "preprocess": preprocess.content_id(), "heads": heads, "cases": cases})
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _refs(case: Case, heads: Sequence[str]) -> list[ImageRef]:
    masks = (case.targets.get(head) for head in heads)
    return [*case.image, *(mask for mask in masks if isinstance(mask, ImageRef))]
