"""Proposals: masks that a network made for cases without any, with how sure it was of each element."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from allograft.core.atomic import write_bytes
from allograft.core.config import Config
from allograft.core.errors import DataError

__all__ = ["Proposals"]

Box = tuple[slice, ...]


class Proposals(Config):
    """A folder of proposed masks on the stored grid of their cases; files are mapped, not read whole.

    Args:
        folder: where they lie.
        floor: an element that the network was less sure of weighs nothing, in [0, 1].
        hard: whether the others weigh 1, instead of the network's probability.
    """

    folder: Path
    floor: float = 0.0
    hard: bool = False

    def write(self, case_id: str, labels: npt.NDArray[np.integer], sure: npt.NDArray[np.floating]) -> Path:
        """Write the classes (*S) of a case and their probabilities (*S); return the file of the classes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path, beside = self._files(case_id)
        write_bytes(beside, _npy(sure.astype(np.float16)))
        write_bytes(path, _npy(labels))
        return path

    def mask(self, case_id: str, inside: Box = ()) -> npt.NDArray[np.int64]:
        """Return the proposed classes (*S), or of a box of them."""
        found: npt.NDArray[np.int64] = self._read(self._files(case_id)[0], case_id)[inside].astype(np.int64)
        return found

    def weight(self, case_id: str, inside: Box = ()) -> npt.NDArray[np.float32]:
        """Return what each element counts for, (*S)."""
        sure = self._read(self._files(case_id)[1], case_id)[inside].astype(np.float32)
        kept = sure >= self.floor
        return kept.astype(np.float32) if self.hard else np.where(kept, sure, np.float32(0))

    def kept(self, case_id: str) -> float:
        """Return the share of elements that weigh something."""
        return float((self.weight(case_id) > 0).mean())

    def _files(self, case_id: str) -> tuple[Path, Path]:
        name = hashlib.sha256(case_id.encode()).hexdigest()[:32]
        return self.folder / f"{name}.npy", self.folder / f"{name}.sure.npy"

    def _read(self, path: Path, case_id: str) -> npt.NDArray[np.generic]:
        try:
            found: npt.NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            msg = f"case {case_id!r}: its proposed mask {path} cannot be read ({error}). Run the stage again."
            raise DataError(msg) from error
        return found


def _npy(values: npt.NDArray[np.generic]) -> bytes:
    """Return an array as an .npy file."""
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(values), allow_pickle=False)
    return out.getvalue()
