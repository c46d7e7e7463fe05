"""The key of a store: what is in it, so that other files or settings make another store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from allograft.core.config import canonical_json
from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.content import file_hashes
from allograft.data.preprocess import Preprocess

__all__ = ["VERSION", "mask_heads", "store_key"]

VERSION = 1
"""Raised whenever the same file and preprocessing would give other values."""


def store_key(cohort: Cohort, preprocess: Preprocess, folder: Path) -> str:
    """Return the folder name of a cohort's store, 24 hexadecimal digits.

    Args:
        cohort: its files are hashed; hashes are remembered in `folder`.
        preprocess: with numbers for a median spacing.
        folder: where stores lie.

    Raises:
        DataError: a file cannot be read; names its case.
    """
    heads = mask_heads(cohort)
    refs = [ref for case in cohort for ref in _refs(case, heads)]
    try:
        hashes = file_hashes((ref.path for ref in refs), folder / "content.json")
    except OSError as error:
        name = next((c.id for c in cohort for r in _refs(c, heads) if str(r.path) == str(error.filename)), "?")
        msg = (
            f"case {name!r}: {error.filename} cannot be read ({error.strerror}). Check the path, or leave the case out."
        )
        raise DataError(msg) from error
    cases = [[c.id, len(c.image), [_content(r, hashes[r.path]) for r in _refs(c, heads)]] for c in cohort]
    text = canonical_json({"version": VERSION, "preprocess": preprocess.content_id(), "heads": heads, "cases": cases})
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def mask_heads(cohort: Cohort) -> list[str]:
    """Return the heads whose targets are masks, sorted."""
    return sorted({head for case in cohort for head, value in case.targets.items() if isinstance(value, ImageRef)})


def _content(ref: ImageRef, digest: str) -> list[object]:
    """Return what decides a reference's values; of a mask also what its values mean."""
    return [digest, ref.key, ref.row, *([list(map(list, ref.classes))] if ref.classes else [])]


def _refs(case: Case, heads: Sequence[str]) -> list[ImageRef]:
    masks = (case.targets.get(head) for head in heads)
    return [*case.image, *(mask for mask in masks if isinstance(mask, ImageRef))]
