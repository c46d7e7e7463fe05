"""Opening: a file of weights with all that lies in it, or the reason why it cannot be opened."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import NamedTuple

from allograft.core.errors import PlanError
from allograft.weights.checking.cause import Cause
from allograft.weights.reading.blob import unpacks_to_too_much
from allograft.weights.reading.contents import FileContent, read_content
from allograft.weights.reading.inert import UnsafeFile

__all__ = ["Opened", "open_content"]


class Opened(NamedTuple):
    """A file's content, or the cause and a sentence that say why there is none."""

    content: FileContent | None
    cause: Cause = ""
    text: str = ""


def open_content(path: Path) -> Opened:
    """Open a file; what it holds is never executed."""
    try:
        content = read_content(path)
    except PlanError as error:
        return Opened(None, _why_closed(path, error), str(error))
    if not content.containers:
        return Opened(None, "not_weights", f"{path}: no tensors of a network are in it.")
    return Opened(content)


def _why_closed(path: Path, error: PlanError) -> Cause:
    """Name the cause by the file's own bytes."""
    if path.is_dir() or path.suffix == ".json":
        return _shards(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return "unreadable"
    return _by_head(head) or _broken(path, size, head, error)


def _by_head(head: bytes) -> Cause:
    """Recognise what stands where a file should be; "" where it is none of these."""
    if not head:
        return "empty_file"
    if head.startswith(b"version https://git-lfs"):
        return "lfs_pointer"
    page = head.lstrip()[:1] == b"<" and any(mark in head.lower() for mark in (b"<html", b"<!doctype", b"<?xml"))
    return "web_page" if page else ""


def _broken(path: Path, size: int, head: bytes, error: PlanError) -> Cause:
    """Tell a damaged file from one that is unsafe or holds something else."""
    if head[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(item.file_size for item in archive.infolist())
        except zipfile.BadZipFile:
            return "truncated"
        if unpacks_to_too_much(unpacked, size):
            return "zip_bomb"
    if isinstance(error, UnsafeFile):
        return "unsafe"
    # What broke a reader is chained to our error; a whole file that holds something else is only described.
    return "truncated" if error.__cause__ is not None else "not_weights"


def _shards(path: Path) -> Cause:
    """Tell a missing shard from a damaged one."""
    found = [path] if path.is_file() else sorted(path.glob("*.index.json"))
    for index in found:
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return "truncated"
        if any(not (index.parent / str(name)).exists() for name in named):
            return "shard_missing"
    return "truncated"
