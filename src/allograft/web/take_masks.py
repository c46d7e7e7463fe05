"""Taking masks over: what a person drew elsewhere becomes the answer to a table of questions.

Masks are checked on the grids of their images, all before any is taken; then each is copied beside the table and
written into it by way of the journal, before the next. A kill at any moment loses no mask that was taken, and the
folder that they came from may go afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from allograft.data.case import ImageRef
from allograft.data.drawn_masks import drawn_masks, keep_mask, meaning_of
from allograft.web.journal import Journal, Row

__all__ = ["Taken", "image_of", "take_masks"]


class Taken(NamedTuple):
    """Cases whose mask is new, changed or known already, questions that are open, and files that answer none."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    known: tuple[str, ...]
    open: tuple[str, ...]
    others: tuple[Path, ...]


def take_masks(
    questions: Sequence[Row],
    folder: Path,
    out: Path,
    classes: Sequence[str],
    *,
    values: Sequence[int] = (),
    empty: bool = False,
) -> Taken:
    """Check the masks in a folder and take them over.

    Args:
        questions: rows with case, path, and key and row where the image lies in an array file.
        folder: of the masks, called like their images or cases.
        out: the table of answers: what it holds stays, masks lie beside it in a folder of its name.
        classes: background first.
        values: of each class in the masks; 0, 1, 2, ... where none are named.
        empty: whether a mask may hold background alone.

    Raises:
        DataError: as `drawn_masks`; nothing is taken then.
        ConfigError: another process has the table open.
    """
    meaning = meaning_of(values)
    found = drawn_masks(
        folder, {row["case"]: image_of(row) for row in questions}, classes, meaning=meaning, empty=empty
    )
    journal = Journal(out, questions, (), column="mask")
    try:
        before = dict(journal.labels)
        for case, path in found.masks.items():
            journal.set(case, str(keep_mask(path, _beside(out), meaning).resolve()))
        after = dict(journal.labels)
    finally:
        journal.close()
    same = {case: before[case] == after[case] for case in found.masks}
    return Taken(
        new=tuple(case for case in same if not before[case]),
        changed=tuple(case for case, is_same in same.items() if before[case] and not is_same),
        known=tuple(case for case, is_same in same.items() if is_same),
        open=tuple(case for case, mask in after.items() if not mask),
        others=found.others,
    )


def image_of(row: Row) -> ImageRef:
    """Return where the image of a question lies."""
    return ImageRef(Path(row["path"]), row.get("key", ""), int(row["row"]) if row.get("row") else None)


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.stem}-masks")
