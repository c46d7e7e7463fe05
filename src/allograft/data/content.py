"""Content: a hash of each file that a cohort reads, so that a store knows when its images changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

from allograft.core.atomic import write_text

__all__ = ["BIG_FILE", "file_hashes"]

BIG_FILE = 1 << 30
"""From this size on (1 GiB) a file is known by path, size, time and its first and last MiB."""

_MIB = 1 << 20


def file_hashes(paths: Iterable[Path], remembered: Path) -> dict[Path, str]:
    """Return a hash of each file's content, or of all files in a folder.

    Args:
        paths: files, or folders of DICOM series.
        remembered: a JSON file that keeps hashes by path, size and time, so that thousands of
            files are read once and not at every start; damaged or missing, it is made again.

    Raises:
        OSError: a path cannot be read.
    """
    known = _read(remembered)
    fresh: dict[str, str] = {}
    out = {path: _of_path(path, known, fresh) for path in dict.fromkeys(paths)}
    if fresh:
        write_text(remembered, json.dumps({**known, **fresh}, indent=0, sort_keys=True))
    return out


def _of_path(path: Path, known: dict[str, str], fresh: dict[str, str]) -> str:
    if not path.is_dir():
        return _of_file(path, known, fresh)
    inside = sorted(p for p in path.rglob("*") if p.is_file())
    lines = [f"{p.relative_to(path).as_posix()} {_of_file(p, known, fresh)}" for p in inside]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _of_file(path: Path, known: dict[str, str], fresh: dict[str, str]) -> str:
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    if key in known:
        return known[key]
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if stat.st_size >= BIG_FILE:
            digest.update(key.encode() + file.read(_MIB))
            file.seek(-_MIB, 2)
        while block := file.read(_MIB):
            digest.update(block)
    # A file written within the clock's grain may change again under the same time: do not remember it.
    if time.time_ns() - stat.st_mtime_ns > 2_000_000_000:
        fresh[key] = digest.hexdigest()
    return digest.hexdigest()


def _read(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in data.items()} if isinstance(data, dict) else {}
