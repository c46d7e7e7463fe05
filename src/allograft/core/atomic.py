"""Write aside, then rename: a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["folder_aside", "write_bytes", "write_text"]


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a crash leaves either the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def folder_aside(final: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `final` when the block ends without an error.

    If `final` exists by then (another worker was first), the new folder is dropped and the
    first one stays: whoever renames first wins.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}."))
    try:
        yield aside
        aside.chmod(0o755)
        with suppress(OSError):
            aside.rename(final)
        if not final.exists():
            msg = f"{final}: the finished folder could not be moved into place."
            raise OSError(msg)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
