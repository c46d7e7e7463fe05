"""Drawn masks: masks that a person drew elsewhere, found by the names of their images and checked on their grids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allograft.core.atomic import write_bytes
from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.io.format import ENDINGS, ending_of, is_image_name
from allograft.data.io.mask import MaskValueError, read_mask

__all__ = ["Drawn", "Meaning", "drawn_masks", "file_name", "keep_mask", "kept_mask", "meaning_of"]

AFTER = ("", "-seg", "_seg", "-mask", "_mask", "-label", "_label", "-labels", "_labels")
"""What the name of a mask may add to that of its image."""
HEADERS = (".mhd", ".nhdr")
"""Endings of files whose pixels lie in another file of the same name."""
VALUES = "values.json"
"""What the values of a copied mask mean, beside it."""

Meaning = tuple[tuple[str, int], ...]
"""What values of a mask mean, as in `ImageRef.classes`."""


class Drawn(NamedTuple):
    """Masks by case, cases without one, and files that belong to no case."""

    masks: Mapping[str, Path]
    missing: tuple[str, ...]
    others: tuple[Path, ...]


def meaning_of(values: Sequence[int]) -> Meaning:
    """Return what the value of each class means; nothing where they are 0, 1, 2, ...

    >>> meaning_of([0, 255])
    (('0', 0), ('255', 1))
    >>> meaning_of([0, 1, 2])
    ()
    """
    plain = list(values) == list(range(len(values)))
    return () if plain else tuple((str(value), index) for index, value in enumerate(values))


def drawn_masks(
    folder: Path,
    images: Mapping[str, ImageRef],
    classes: Sequence[str],
    *,
    meaning: Meaning = (),
    empty: bool = True,
) -> Drawn:
    """Return the mask of each image; all are read and checked before any is taken.

    Args:
        folder: of mask files; each is called like its image or its case (`file_name`), with -seg, _mask and the like
            behind it or nothing.
        images: by case.
        classes: by value, background first.
        meaning: of other values than 0, 1, 2, ...
        empty: whether a mask may hold background alone.

    Raises:
        DataError: a folder is missing, a mask cannot be read, lies on another grid, holds a value that is no class
            or nothing at all, a case has several masks, or a mask fits several cases; names file and case.
    """
    if not folder.is_dir():
        msg = f"{folder}: no such folder of masks."
        raise DataError(msg)
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_image_name(path):
            files.setdefault(_stem(path), []).append(path)
    found: dict[str, Path] = {}
    for case, ref in images.items():
        mask = _of(case, ref, files, folder)
        if mask is not None:
            _only_one(mask, case, found)
            found[case] = mask
    for case, mask in found.items():
        _check(case, ImageRef(mask, classes=meaning), images[case], classes, empty=empty)
    taken = set(found.values())
    others = tuple(path for paths in files.values() for path in paths if path not in taken)
    return Drawn(found, tuple(case for case in images if case not in found), others)


def keep_mask(path: Path, folder: Path, meaning: Meaning = ()) -> Path:
    """Copy a mask into a folder named by its content, with what its values mean; return the copy.

    A header's pixels come with it. All is on disk when this returns, and the same mask is copied once.
    """
    parts = [path]
    if ending_of(path) in HEADERS:
        parts += [p for p in sorted(path.parent.iterdir()) if p.is_file() and p != path and p.stem == path.stem]
    contents = {part.name: part.read_bytes() for part in parts}
    contents |= {VALUES: json.dumps(dict(meaning)).encode()} if meaning else {}
    digest = hashlib.sha256(b"".join(contents.values())).hexdigest()[:16]
    for name, content in contents.items():
        copy = folder / digest / name
        if not copy.exists():
            write_bytes(copy, content)
    return folder / digest / path.name


def kept_mask(path: Path) -> ImageRef:
    """Return the reference of a mask that `keep_mask` copied, or of any other file of class indices.

    Raises:
        DataError: the file is missing, or what its values mean cannot be read.
    """
    if not path.is_file():
        msg = f"{path}: no such mask. Was it moved? Import it again: allograft label --masks."
        raise DataError(msg)
    beside = path.parent / VALUES
    if not beside.exists():
        return ImageRef(path)
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
        return ImageRef(path, classes=tuple((str(value), int(index)) for value, index in found.items()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        msg = f"{beside}: does not say what the values of {path.name} mean ({error}). Import the mask again."
        raise DataError(msg) from error


def file_name(case: str) -> str:
    """Return what a case is called where its files bear its name: without an image's ending, __ for /.

    >>> file_name("site2/scan.nii.gz")
    'site2__scan'
    >>> file_name("pictures.npz[3]")
    'pictures.npz[3]'
    """
    return _stem(Path(case.strip("/").replace("/", "__")))


def _stem(path: Path) -> str:
    """Return a file's name without the ending, if it is one of images."""
    return path.name[: len(path.name) - len(ending_of(path))] if ending_of(path) in ENDINGS else path.name


def _of(case: str, ref: ImageRef, files: Mapping[str, list[Path]], folder: Path) -> Path | None:
    """Return the one file that is called like a case or its image."""
    image = (_stem(ref.path),) if ref.row is None and not ref.key else ()  # a file of many images names none of them
    names = dict.fromkeys(own + after for own in (*image, file_name(case), Path(case).name) for after in AFTER)
    own = [path for name in names for path in files.get(name, []) if path.resolve() != ref.path.resolve()]
    if len(own) > 1:
        msg = f"{case}: has several masks in {folder}: {own[0].name}, {own[1].name}. Keep one of them."
        raise DataError(msg)
    return own[0] if own else None


def _only_one(mask: Path, case: str, found: Mapping[str, Path]) -> None:
    """Refuse a mask that is called like the images of two cases: images of one name in several folders."""
    other = next((name for name, path in found.items() if path == mask), None)
    if other is not None:
        msg = (
            f"{mask}: fits two cases, {other} and {case}, whose images bear one name. Name each mask after its case, "
            f"{file_name(other)} and {file_name(case)} (with _seg or the like, and the ending)."
        )
        raise DataError(msg)


def _check(case: str, mask: ImageRef, image: ImageRef, classes: Sequence[str], *, empty: bool) -> None:
    """Refuse a mask that does not lie on its image's grid or whose values are no classes."""
    try:
        values = np.unique(read_mask(mask, onto=image).array)
    except MaskValueError as error:
        msg = f"{case}, {error} Correct the mask, or name the value of each class, in the order of --classes: --values."
        raise DataError(msg) from error
    except DataError as error:
        msg = f"{case}, mask {error}"
        raise DataError(msg) from error
    wrong = [int(value) for value in values if not 0 <= value < len(classes)]
    if wrong:
        msg = (
            f"{case}, mask {mask.path}: holds the value {wrong[0]}, expected 0 to {len(classes) - 1} for "
            f"{', '.join(classes)}. Correct the mask, or name the value of each class: --values 0,255"
        )
        raise DataError(msg)
    if not empty and not values.any():
        msg = (
            f"{case}, mask {mask.path}: is empty, it holds {classes[0]} alone. Draw it, or say --empty where images "
            "may show nothing else."
        )
        raise DataError(msg)
