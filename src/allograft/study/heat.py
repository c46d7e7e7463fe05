"""Heat: where a network looked in a test case, kept with a run: what the report shows. No torch."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.atomic import write_bytes
from allograft.core.errors import DataError
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore
from allograft.study.summary import Looked

__all__ = ["CASES", "HEAT", "Heat", "looked", "read_heat", "write_heat"]

HEAT = "heat"
"""Folder of a run: one file a case, by its pseudonym."""
CASES = 3
"""Test cases that are looked at, the first of the first fold (ours)."""
NONE: npt.NDArray[np.float32] = np.zeros(0, np.float32)


class Heat(NamedTuple):
    """A picture or the middle slice of a volume, with what spoke for a class in it.

    Args:
        image: (H, W) uint8, as the network read it.
        heat: (H, W) uint8, 255 where most speaks for the class.
        asked: the class that the heat is about: the true one.
        said: the most probable class.
        sure: its probability.
        place: number of the slice, from 1.
        of: how many there are; 1 for a picture.
        shares: (K,) float32, the attention to each slice or tile; none where the heat is Grad-CAM's.
        grid: how many there are along each axis, their product is K.
    """

    image: npt.NDArray[np.uint8]
    heat: npt.NDArray[np.uint8]
    asked: int
    said: int
    sure: float
    place: int
    of: int
    shares: npt.NDArray[np.float32] = NONE
    grid: tuple[int, ...] = ()


def write_heat(path: Path, found: Heat) -> None:
    """Write a map, compressed; it holds pixels and nothing that names anybody."""
    buffer = io.BytesIO()
    parts: dict[str, Any] = {name: np.asarray(value) for name, value in found._asdict().items()}
    np.savez_compressed(buffer, **parts)
    write_bytes(path, buffer.getvalue())


def read_heat(path: Path) -> Heat:
    """Return the map that `write_heat` wrote.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            image, heat = np.asarray(file["image"]), np.asarray(file["heat"])
            asked, said, place, of = (int(file[name]) for name in ("asked", "said", "place", "of"))
            shares, grid = (file.get(name, NONE) for name in ("shares", "grid"))
            plan = tuple(int(n) for n in grid)
            return Heat(image, heat, asked, said, float(file["sure"]), place, of, np.asarray(shares), plan)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path}: no readable heat map ({type(error).__name__}). Was the run made by an older version?"
        raise DataError(msg) from error


def looked(store: RunStore, keys: Sequence[RunKey], recipes: Sequence[str]) -> tuple[Looked, ...]:
    """Return the maps of the lowest seed's first fold, by case and then in the order of `recipes`."""
    first = min((key.seed for key in keys), default=0)
    runs = {key.recipe: key.id for key in keys if key.seed == first and key.fold == 0}
    files = {name: store.run_folder(runs[name]) / HEAT for name in recipes if name in runs}
    cases = sorted({path.stem for folder in files.values() for path in folder.glob("*.npz")})
    return tuple(
        Looked(case=case, recipe=name, file=path)
        for case in cases
        for name, folder in files.items()
        if (path := folder / f"{case}.npz").exists()
    )
