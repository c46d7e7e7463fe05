"""Inputs: from what a user names (files, folders, tables, arrays) to images, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from allograft.core.errors import DataError
from allograft.data.case import ImageRef
from allograft.data.class_folder import image_files, is_series
from allograft.data.io.array import ArrayHeader, array_headers, load_array
from allograft.data.io.format import ENDINGS, ending_of
from allograft.data.manifest import ManifestSpec, read_images

__all__ = ["Input", "find_inputs"]

CHANNELS = 4
"""An axis of at most this length, first or last, is taken for channels."""


class Input(NamedTuple):
    """One image to look at.

    Args:
        name: as the user gave it: the path, the table's cell, or "file.npz:array[row]".
        refs: where it lies, one reference for each channel file.
    """

    name: str
    refs: tuple[ImageRef, ...]


def find_inputs(
    given: Sequence[str], *, dims: int, manifest: ManifestSpec | None = None, channels: int = 1
) -> tuple[Input, ...]:
    """Return every image behind the given names, in order.

    Args:
        given: image files; folders of images, at any depth; folders of one DICOM series; CSV or TSV
            tables with a column of paths; .npy and .npz files, one image or a row for each image.
            A file that is not there is kept: it becomes a row with an error.
        dims: 2 or 3, of the network; decides whether an array's first axis counts images.
        manifest: columns of tables.
        channels: that the network takes; above 1, files CASE_0000 to CASE_000n of a folder (nnU-Net's
            names) are the channels of one image, called CASE.

    Raises:
        ConfigError: a table has no column of images.
        DataError: a folder holds no images, or a table or an archive cannot be read.
    """
    found = tuple(item for text in given for item in _behind(text, dims, manifest, channels))
    if not found:
        msg = f"no images behind {', '.join(given) or 'nothing'}. Give files, folders, a table or an .npz file."
        raise DataError(msg)
    return found


def _behind(text: str, dims: int, manifest: ManifestSpec | None, channels: int) -> Iterator[Input]:
    path, ending = Path(text), Path(text).suffix.lower()
    if path.is_dir():
        yield from _in_folder(path, channels)
    elif ending in {".csv", ".tsv"}:
        yield from (Input(name, refs) for name, refs in read_images(path, manifest))
    elif ending in {".npy", ".npz"} and path.exists():
        yield from _in_array(text, path, dims)
    else:
        yield Input(text, (ImageRef(path),))


def _in_folder(path: Path, channels: int) -> Iterator[Input]:
    files = [path] if is_series(path) else image_files(path, Counter())
    if not files:
        msg = f"{path}: no images in this folder. Known endings: {', '.join(ENDINGS)}."
        raise DataError(msg)
    if channels == 1:
        yield from (Input(str(file), (ImageRef(file),)) for file in files)
        return
    cases: dict[str, list[tuple[int, Path]]] = {}
    for file in files:
        ending = ending_of(file)
        stem, _, number = file.name[: len(file.name) - len(ending)].rpartition("_")
        numbered = bool(stem) and len(number) == 4 and number.isdecimal()
        name = str(file.parent / f"{stem}{ending}") if numbered else str(file)
        cases.setdefault(name, []).append((int(number) if numbered else 0, file))
    for name, own in cases.items():
        if len(own) == channels and [number for number, _ in sorted(own)] == list(range(channels)):
            yield Input(name, tuple(ImageRef(file) for _, file in sorted(own)))
        else:
            yield from (Input(str(file), (ImageRef(file),)) for _, file in own)


def _in_array(text: str, path: Path, dims: int) -> Iterator[Input]:
    """Yield the whole array, or each of its rows; of an archive the arrays that are named for images."""
    if path.suffix.lower() == ".npy":
        array = load_array(path)
        headers = {"": ArrayHeader(array.shape, array.dtype)}
    else:
        headers = array_headers(path)
        named = {key: header for key, header in headers.items() if key.lower().endswith(("image", "images"))}
        headers = named or headers
    for key, header in headers.items():
        where = f"{text}:{key}" if key else text
        if not _counts_images(header.shape, dims):
            yield Input(where, (ImageRef(path, key),))
            continue
        for row in range(header.shape[0]):
            yield Input(f"{where}[{row}]", (ImageRef(path, key, row),))


def _counts_images(shape: tuple[int, ...], dims: int) -> bool:
    """Tell whether the first axis counts images: (N, *S), (N, *S, C) or (N, C, *S)."""
    if len(shape) == dims + 1:
        return min(shape[0], shape[-1]) > CHANNELS
    return len(shape) == dims + 2
