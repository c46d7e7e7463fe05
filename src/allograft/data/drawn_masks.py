"""Drawn masks: masks that a person drew elsewhere, found by the names of their images and checked on their grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.format import ending_of, is_image_name
from allograft.data.io.mask import read_mask

__all__ = ["Drawn", "drawn_masks"]

AFTER = ("", "-seg", "_seg", "-mask", "_mask", "-label", "_label", "-labels", "_labels")
"""What the name of a mask may add to that of its image."""


class Drawn(NamedTuple):
    """Masks by case, cases without one, and files that belong to no case."""

    masks: Mapping[str, Path]
    missing: tuple[str, ...]
    others: tuple[Path, ...]


def drawn_masks(folder: Path, images: Mapping[str, ImageRef], classes: Sequence[str]) -> Drawn:
    """Return the mask of each image; all are read and checked before any is taken.

    Args:
        folder: of mask files; each is called like its image or its case, with -seg, _mask and the like behind it
            or nothing.
        images: by case.
        classes: by value, background first.

    Raises:
        DataError: a folder is missing, a mask cannot be read, lies on another grid, holds a value that is no class,
            or a case has several; names the file.
    """
    if not folder.is_dir():
        msg = f"{folder}: no such folder of masks."
        raise DataError(msg)
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_image_name(path):
            files.setdefault(path.name[: len(path.name) - len(ending_of(path))], []).append(path)
    found: dict[str, Path] = {}
    for case, ref in images.items():
        stem = ref.path.name[: len(ref.path.name) - len(ending_of(ref.path))]
        names = dict.fromkeys(own + after for own in (stem, Path(case).name, case) for after in AFTER)
        own = [path for name in names for path in files.get(name, []) if path.resolve() != ref.path.resolve()]
        if len(own) > 1:
            msg = f"{case}: has several masks in {folder}: {own[0].name}, {own[1].name}. Keep one of them."
            raise DataError(msg)
        if own:
            _check(own[0], ref, classes)
            found[case] = own[0]
    taken = set(found.values())
    others = tuple(path for paths in files.values() for path in paths if path not in taken)
    return Drawn(found, tuple(case for case in images if case not in found), others)


def _check(path: Path, image: ImageRef, classes: Sequence[str]) -> None:
    values = np.unique(read_mask(ImageRef(path), onto=image).array)
    wrong = [int(value) for value in values if not 0 <= value < len(classes)]
    if wrong:
        msg = (
            f"{path}: holds the value {wrong[0]}, expected 0 to {len(classes) - 1} for {', '.join(classes)}. Correct "
            "the mask, or name the classes in the order of its values with --classes."
        )
        raise DataError(msg)
