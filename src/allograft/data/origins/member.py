"""Members of archives, taken out one by one: no path leaves its folder, no link is followed, sizes are bounded."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from allograft.core.errors import DataError

__all__ = ["MAX_BYTES", "has_member", "take_all", "take_member"]

MAX_BYTES = 4 * 2**30
"""Most bytes that one origin may unpack to."""

_CHUNK = 2**20
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
)


class _Item(NamedTuple):
    """One entry: its path, whether it is a plain file, its declared size, and how to read it."""

    path: str
    plain: bool
    size: int
    read: Callable[[], IO[bytes] | None]


def has_member(archive: Path, member: str) -> bool:
    """Tell whether an archive holds a member (a file, or a folder where it ends in "/").

    Raises:
        DataError: the archive is damaged.
    """
    with _items(archive) as items:
        return any(_inside(item.path, member) is not None for item in items)


def take_member(archive: Path, member: str, into: Path, *, limit: int = MAX_BYTES) -> Path:
    """Extract one member into the empty folder `into` and return its path there.

    Args:
        archive: a zip (wheel) or tar file.
        member: path inside; source archives may leave out their top folder. A final "/" takes a folder.
        into: an existing empty folder.
        limit: most bytes that may be unpacked.

    Raises:
        DataError: damaged archive; no such member; a link; a path that leaves the folder; too large.
    """
    left = limit
    with _items(archive) as items:
        for item in items:
            rest = _inside(item.path, member)
            if rest is None:
                continue
            _check(item, archive, left)
            left -= _copy(item, _target(into, rest, archive), archive, left)
    name = PurePosixPath(member).name
    if left == limit and not (into / name).exists():
        msg = f'{archive.name}: holds no "{member}". Check the path and the version of the origin.'
        raise DataError(msg)
    return into / name


def take_all(archive: Path, into: Path, *, limit: int = MAX_BYTES) -> None:
    """Extract every file of an archive below the empty folder `into`.

    Raises:
        DataError: damaged archive; a link; a path that leaves the folder; too large.
    """
    left = limit
    with _items(archive) as items:
        for item in items:
            _check(item, archive, left)
            left -= _copy(item, _target(into, item.path.removeprefix("./"), archive), archive, left)


def _inside(path: str, member: str) -> str | None:
    """Return where an entry goes below the target folder, None where it is not asked for."""
    plain = path.removeprefix("./")
    for candidate in (plain, plain.partition("/")[2]):
        if candidate == member:
            return PurePosixPath(member).name
        if member.endswith("/") and candidate.startswith(member) and len(candidate) > len(member):
            return f"{PurePosixPath(member).name}/{candidate[len(member) :]}"
    return None


def _check(item: _Item, archive: Path, left: int) -> None:
    if not item.plain:
        msg = f'{archive.name}: "{item.path}" is a link or a device, not a plain file. Refused.'
        raise DataError(msg)
    if item.size > left:
        msg = f'{archive.name}: "{item.path}" would unpack to {item.size} bytes, at most {left} are allowed. Refused.'
        raise DataError(msg)


def _target(into: Path, rest: str, archive: Path) -> Path:
    """Return the path of an entry below `into`; refuse one that would lie elsewhere."""
    path = PurePosixPath(rest)
    target = into / path
    if path.is_absolute() or ".." in path.parts or "\\" in rest or not target.resolve().is_relative_to(into.resolve()):
        msg = f'{archive.name}: "{rest}" would be written outside its folder. The archive is not to be trusted.'
        raise DataError(msg)
    return target


def _copy(item: _Item, target: Path, archive: Path, left: int) -> int:
    """Stream an entry to disk and return its true size, whatever the archive's directory claims."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        source = item.read()
        if source is None:
            msg = f'{archive.name}: "{item.path}" cannot be read. Fetch the archive again.'
            raise DataError(msg)
        with source, target.open("xb") as file:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > left:
                    msg = f'{archive.name}: "{item.path}" unpacks to more than {left} bytes. Refused.'
                    raise DataError(msg)
                file.write(chunk)
    except _DAMAGE as error:
        msg = f'{archive.name}: "{item.path}" is damaged ({error}). Fetch the archive again.'
        raise DataError(msg) from error
    return written


@contextmanager
def _items(archive: Path) -> Iterator[Iterator[_Item]]:
    """Open a zip or tar file and walk its entries, folders left out."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _zip_items(opened)
        else:
            with tarfile.open(archive) as tar:
                yield _tar_items(tar)
    except _DAMAGE as error:
        msg = f"{archive.name}: not a whole archive ({error}). Fetch it again."
        raise DataError(msg) from error


def _zip_items(archive: zipfile.ZipFile) -> Iterator[_Item]:
    for info in archive.infolist():
        if info.is_dir():
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        yield _Item(info.filename, kind in {0, stat.S_IFREG}, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]


def _tar_items(archive: tarfile.TarFile) -> Iterator[_Item]:
    for info in archive:
        if info.isdir():
            continue
        yield _Item(info.name, info.isreg(), info.size, lambda info=info: archive.extractfile(info))  # type: ignore[misc]
