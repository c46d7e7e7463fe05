"""Zips of a DICOM series: unpacked once, below the cache, by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from allograft.core.atomic import folder_aside
from allograft.core.errors import DataError
from allograft.core.private import home
from allograft.data.io.dicom_series import dicom_files
from allograft.data.origins.member import MAX_BYTES, take_all

__all__ = ["unpacked_series"]

_CHUNK = 1 << 22


def unpacked_series(archive: Path, *, limit: int = MAX_BYTES) -> Path:
    """Return the folder of the one DICOM series in a zip.

    The zip is unpacked on the first call; the cache knows it by its content, so a changed file is
    unpacked anew. Nothing is written outside the cache's folder.

    Args:
        archive: the zip.
        limit: most bytes that it may unpack to.

    Raises:
        DataError: damaged, hostile (links, paths that leave the folder) or too large; no DICOM file,
            or DICOM files in several folders.
    """
    final = home() / "unpacked" / _digest(archive)
    if not final.exists():
        with folder_aside(final) as aside:
            take_all(archive, aside, limit=limit)
            _series_folder(aside, archive)  # refuse before it is kept
    return _series_folder(final, archive)


def _digest(archive: Path) -> str:
    digest = hashlib.sha256()
    try:
        with archive.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        msg = f"{archive}: cannot be opened ({error.strerror}). Check the path and its permissions."
        raise DataError(msg) from error
    return digest.hexdigest()


def _series_folder(root: Path, archive: Path) -> Path:
    folders = [path for path in (root, *sorted(root.rglob("*"))) if path.is_dir() and dicom_files(path)]
    if not folders:
        msg = f"{archive}: the zip holds no DICOM files. Zip the folder of one series."
        raise DataError(msg)
    if len(folders) > 1:
        names = ", ".join(path.relative_to(root).as_posix() for path in folders[:6])
        msg = f"{archive}: holds DICOM files in {len(folders)} folders ({names}). Make one zip for each series."
        raise DataError(msg)
    return folders[0]
