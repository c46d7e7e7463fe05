"""The files of a store, mapped on first use and checked against what its index says of them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.data.store_index import StoreIndex, case_file, checksum

__all__ = ["OPEN_FILES", "StoreFiles"]

OPEN_FILES = 128
"""Arrays that stay mapped at a time; each holds a file handle."""

Array = npt.NDArray[Any]


class StoreFiles:
    """Reads arrays of a store.

    Args:
        path: the store's folder.
        index: what is in it.
    """

    def __init__(self, path: Path, index: StoreIndex) -> None:
        self.path, self.index = path, index
        self._row_of = {name: i for i, name in enumerate(index.ids)}
        self._map = lru_cache(maxsize=OPEN_FILES)(self._load)

    def row(self, name: str) -> int:
        """Return which row a case is.

        Raises:
            DataError: the store does not have it.
        """
        if name not in self._row_of:
            msg = f"{self.path}: no case {name!r} in this store of {len(self.index.ids)}. Build one that has it."
            raise DataError(msg)
        return self._row_of[name]

    def array(self, part: str, row: int) -> Array:
        """Return one case's array, mapped.

        Raises:
            DataError: its file is missing, cut short or holds another kind of array.
        """
        if part.endswith(".npy"):
            return cast("Array", self.stack(part)[row])
        return self._map(case_file(part, row), self.index.shape_in(part, row), self.index.types_in(part))

    def stack(self, part: str) -> Array:
        """Return the arrays of all cases, (N, ...), of a part that is one file.

        Raises:
            DataError: as `array`.
        """
        return self._map(part, (len(self.index.ids), *self.index.shape_in(part, 0)), self.index.types_in(part))

    def damaged(self) -> tuple[str, ...]:
        """Return the ids of which any array does not fit its checksum; reads everything once."""
        bad: set[int] = set()
        for part, sums in self.index.checksums.items():
            bad |= {i for i, expected in enumerate(sums) if expected and not self._fits(part, i, expected)}
        return tuple(self.index.ids[i] for i in sorted(bad))

    def _fits(self, part: str, row: int, expected: str) -> bool:
        try:
            return checksum(self.array(part, row)) == expected
        except DataError:
            return False

    def _load(self, file: str, shape: tuple[int, ...], types: tuple[str, ...]) -> Array:
        try:
            found = np.load(self.path / file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError) as error:  # a damaged header may be no Python literal
            msg = f"{self.path / file}: missing or cut short. Build the store again with Store.build."
            raise DataError(msg) from error
        if found.shape != shape or found.dtype.str not in types:
            msg = (
                f"{self.path / file}: holds {found.shape} {found.dtype}, expected {shape}. "
                "Build the store again with Store.build."
            )
            raise DataError(msg)
        return cast("Array", found)
