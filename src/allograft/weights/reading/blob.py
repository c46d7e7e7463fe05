"""Blob: the bytes of a file, mapped rather than read, and zip archives in them that are safe to open."""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from allograft.core.errors import PlanError
from allograft.weights.reading.inert import UnsafeFile

__all__ = ["Archive", "Blob", "unpacks_to_too_much"]

_MAX_INFLATION = 2.0
_MAX_ENTRIES = 200_000
_BUFFER = 2**16


def unpacks_to_too_much(unpacked: int, size: int) -> bool:
    """Tell whether an archive of `size` bytes announces more than a checkpoint, which is not compressed, can hold."""
    return unpacked > _MAX_INFLATION * size + 2**20


@dataclass(frozen=True)
class Blob:
    """Bytes with the name that errors give them.

    Args:
        where: path of the file, with the place inside it where the bytes are a part.
        view: the bytes; writing into tensors made of them never reaches the file.
    """

    where: str
    view: memoryview

    @classmethod
    def of(cls, path: Path) -> Blob:
        """Map a file.

        Raises:
            PlanError: it cannot be read, or is empty.
        """
        try:
            with path.open("rb") as file:
                return cls(str(path), memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)))
        except ValueError as error:
            msg = f"{path}: the file is empty. Fetch it again."
            raise PlanError(msg) from error
        except OSError as error:
            msg = f"{path}: cannot be read ({error.strerror}). Check the path."
            raise PlanError(msg) from error

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self.view)

    def stream(self) -> BinaryIO:
        """Return the bytes as a stream."""
        return io.BufferedReader(_Raw(self.view), _BUFFER)


class Archive:
    """A zip archive: looked through before anything of it is read.

    Raises:
        PlanError: cut off, damaged, unpacking to far more than it holds, or with names that leave it or occur twice.
    """

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        try:
            self._zip = zipfile.ZipFile(blob.stream())
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            msg = f"{blob.where}: the archive is cut off or damaged ({error}). Fetch it again."
            raise PlanError(msg) from error
        self.entries = {item.filename: item for item in self._zip.infolist()}
        self._check()

    def _check(self) -> None:
        items = self._zip.infolist()
        unpacked = sum(item.file_size for item in items)
        if unpacks_to_too_much(unpacked, self.blob.size):
            msg = (
                f"{self.blob.where}: {self.blob.size} bytes would unpack to {unpacked}; checkpoints are not "
                "compressed. Refused."
            )
            raise UnsafeFile(msg)
        bad = next((item.filename for item in items if _leaves(item.filename)), None)
        if bad is not None or len(items) > _MAX_ENTRIES or len(self.entries) < len(items):
            what = f'the name "{bad[:80]}" in it leaves the archive' if bad else "it holds names twice, or too many"
            msg = f"{self.blob.where}: refused, because {what}. Checkpoints have no such archives."
            raise UnsafeFile(msg)

    def view(self, name: str) -> memoryview:
        """Return an entry's bytes, mapped where it lies uncompressed.

        Raises:
            KeyError: no such entry.
            ValueError, zipfile.BadZipFile: it does not lie inside the archive, or is damaged.
        """
        item = self.entries[name]
        if item.compress_type != zipfile.ZIP_STORED or item.flag_bits & 1:
            return memoryview(bytearray(self._zip.read(item)))
        begin = item.header_offset
        head = bytes(self.blob.view[begin : begin + 30])
        if len(head) < 30 or head[:4] != b"PK\3\4":
            raise ValueError(f"entry {name} has no header")
        begin += 30 + sum(struct.unpack("<HH", head[26:30]))
        if begin + item.file_size > self.blob.size:
            raise ValueError(f"entry {name} ends behind the archive")
        return self.blob.view[begin : begin + item.file_size]

    def part(self, name: str) -> Blob:
        """Return an entry as a blob of its own."""
        return Blob(f"{self.blob.where}!{name}", self.view(name))


class _Raw(io.RawIOBase):
    """A memoryview as a stream."""

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view, self._at = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        part = self._view[self._at : self._at + len(into)]
        into[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        if start + offset < 0:
            raise ValueError("a place before the file's beginning")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at


def _leaves(name: str) -> bool:
    """Tell whether a name would be written outside the folder that an archive is unpacked into."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name
