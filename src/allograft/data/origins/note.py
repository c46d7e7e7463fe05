"""Notes beside cached files: a hash with the size and time it was computed at, so that checks are cheap."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from allograft.core.atomic import write_text

__all__ = ["content_sha256", "noted_sha256", "write_note"]


def content_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's sorted relative paths with their files' hashes."""
    if path.is_dir():
        files = sorted((p.relative_to(path).as_posix(), p) for p in path.rglob("*") if p.is_file())
        text = "".join(f"{name}\0{content_sha256(item)}\n" for name, item in files)
        return hashlib.sha256(text.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def noted_sha256(path: Path) -> str:
    """Return the noted hash while size and time are those it was computed at, else compute it anew."""
    stamp = _stamp(path)
    try:
        note = json.loads(_place(path).read_text(encoding="utf-8"))
        if {key: note[key] for key in stamp} == stamp:
            return str(note["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a lost or damaged note costs one more reading of the file
    return write_note(path)


def write_note(path: Path) -> str:
    """Compute a hash, note it beside the file and return it."""
    stamp = _stamp(path)
    digest = content_sha256(path)
    write_text(_place(path), json.dumps({"sha256": digest, **stamp}))
    return digest


def _stamp(path: Path) -> dict[str, int]:
    """Return what tells cheaply that a file, or a folder's files, are unchanged."""
    stats = [p.stat() for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()]
    newest = max((s.st_mtime_ns for s in stats), default=0)
    return {"files": len(stats), "bytes": sum(s.st_size for s in stats), "newest_ns": newest}


def _place(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256.json")
