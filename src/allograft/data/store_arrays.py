"""Arrays of a store being written: in one file while all cases are alike, else a file for each case."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.data.store_index import case_file, checksum

__all__ = ["Arrays", "as_bytes", "save_row"]

Array = npt.NDArray[Any]


class Arrays:
    """One part of a store, written row by row.

    Args:
        folder: of the store.
        name: of the part, without an ending.
        count: cases.
        stacked: one file with a row for each case, until `split`.
        compact: store values that are all k / 255 as k: a quarter of the disk, and exact.
    """

    def __init__(self, folder: Path, name: str, count: int, *, stacked: bool = True, compact: bool = False) -> None:
        self.folder, self.name, self.count = folder, name, count
        self.stacked, self.compact = stacked, compact
        self.sums: list[str] = []
        self.has: list[bool] = []
        self._stack: np.memmap[Any, np.dtype[Any]] | None = None

    @property
    def part(self) -> str:
        """The file, or the folder."""
        return f"{self.name}.npy" if self.stacked else self.name

    def put(self, row: Array | None) -> None:
        """Write the next case's array; None for a case that has none."""
        i = len(self.has)
        self.has.append(row is not None)
        if not self.stacked:
            self.sums.append("" if row is None else self._save(i, row))
        elif row is not None:
            if self._stack is None:
                self._stack = _create(self.folder / self.part, row.dtype, (self.count, *row.shape))
            self._stack[i] = row
            self.compact = self.compact and as_bytes(row) is not None

    def split(self, *, compact: bool = False) -> None:
        """Give each case that is written, and all that follow, a file of its own."""
        old, stack = self.folder / self.part, self._stack
        self.stacked, self.compact, self._stack = False, compact, None
        self.sums = [self._save(i, stack[i]) if has and stack is not None else "" for i, has in enumerate(self.has)]
        old.unlink(missing_ok=True)

    def finish(self) -> tuple[str, ...]:
        """Return the checksum of each case's array."""
        if not self.stacked or self._stack is None:
            return tuple(self.sums)
        self._stack.flush()
        stack = self._to_bytes(self._stack) if self.compact else self._stack
        return tuple(map(checksum, stack))

    def _save(self, i: int, row: Array) -> str:
        return save_row(self.folder / case_file(self.name, i), row, compact=self.compact)

    def _to_bytes(self, stack: Array) -> Array:
        path = self.folder / self.part
        aside = path.with_suffix(".bytes")
        small = _create(aside, np.dtype(np.uint8), stack.shape)
        for i, row in enumerate(stack):
            small[i] = as_bytes(row)
        small.flush()
        aside.replace(path)
        return small


def save_row(path: Path, row: Array, *, compact: bool = False) -> str:
    """Write one case's array so that a reader sees the old file or the new one; return its checksum."""
    small = as_bytes(row) if compact else None
    chosen = row if small is None else small
    path.parent.mkdir(exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # two may mend at once
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, np.ascontiguousarray(chosen), allow_pickle=False)
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    return checksum(chosen)


def as_bytes(row: Array) -> npt.NDArray[np.uint8] | None:
    """Return k where every value is exactly k / 255, None where one is not."""
    small = np.rint(row * np.float32(255))
    if small.min() < 0 or small.max() > 255 or not (small / np.float32(255) == row).all():
        return None
    return small.astype(np.uint8)


def _create(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
