"""Nuclei in 2-D: fluorescence pictures of three laboratories, every nucleus outlined, as foreground.

| source | picture | labels |
|---|---|---|
| stardist | 512 x 512, the sample picture of the package stardist | 125 nuclei |
| scratch | 10 frames of a scratch assay, 210 x 576 at 0.619 um, channel H3342 (Hoechst) | 59 to 83 nuclei a frame |
| cells3d | 256 x 256, slices 24, 30, 36, 42 of the stack of nuclei_3d; only where named | 19 or 20 nuclei a slice |

Instance labels become one class: a pixel of any nucleus is "nucleus", so nuclei that touch are one region.
Groups are blocks with 32 unused pixels between them: four of the first picture; of the time-lapse two, left and
right of the scratch, each through all ten frames, because frames show the same cells again; of the stack four, each
through its slices. The sources are the domains; `sixths` cuts each of them into six blocks, for folds and verdicts
within a source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy.typing as npt
from pydantic import Field

from allograft.core.config import Config
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.io.raster import read_tiff
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess
from allograft.datasets.grid import blocks
from allograft.datasets.nuclei_3d import FILES as STACKS
from allograft.datasets.prepared import (
    Item,
    Sources,
    card_of,
    check_cohort,
    check_shares,
    cohort_of,
    fetch,
    made_once,
    save_pair,
)

__all__ = ["Nuclei2D", "Nuclei2DSettings"]

GAP = 32
CUTS = {"stardist": (2, 2), "scratch": (1, 2), "cells3d": (2, 2)}
SIXTHS = {"stardist": (2, 3), "scratch": (3, 2), "cells3d": (2, 3)}
"""The time-lapse has no column of blocks in the middle, where the scratch is."""
FRAMES = {"stardist": 1, "scratch": 10, "cells3d": 4}
SLICES = (24, 30, 36, 42)
SHARES: dict[str, tuple[float, float]] = {
    "stardist": (0.79898, 0.20102),
    "scratch": (0.92824, 0.07176),
    "cells3d": (0.60399, 0.39601),
}
SIXTH_SHARES: dict[str, tuple[float, float]] = {
    "stardist": (0.79213, 0.20787),
    "scratch": (0.92811, 0.07189),
    "cells3d": (0.63465, 0.36535),
}
_VERSION = 1

_STARDIST = "pypi:stardist==0.9.2#stardist/data/images/"
Source = Literal["stardist", "scratch", "cells3d"]
FILES: dict[str, Sources] = {
    "cells3d": STACKS["cells3d"],
    "stardist": {
        "picture": (f"{_STARDIST}img2d.tif", "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750"),
        "labels": (f"{_STARDIST}mask2d.tif", "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f"),
    },
    "scratch": {
        "frames": (
            "pypi:ndev-sampledata==0.0.3#ndev_sampledata/samples/scratch-assay-labeled-10T-2Ch.tiff",
            "34fcba5444b6b5c8d5635553ad73df3a48d2d43390b465dab71986586cfcc892",
        ),
    },
}

Picture = npt.NDArray[Any]


class Nuclei2DSettings(Config):
    """Which pictures are used.

    Args:
        sources: which of the three.
        sixths: six blocks of every source (2 x 3 or 3 x 2), in place of four of pictures and two of the time-lapse.
    """

    sources: tuple[Source, ...] = Field(default=("stardist", "scratch"), min_length=1)
    sixths: bool = False

    def cuts(self, source: Source) -> tuple[int, int]:
        """Return into how many rows and columns of blocks a source is cut."""
        return (SIXTHS if self.sixths else CUTS)[source]


class Nuclei2D:
    """Nuclei against background in fluorescence pictures.

    Args:
        settings: which pictures.
    """

    Settings = Nuclei2DSettings

    name: ClassVar[str] = "nuclei_2d"
    title: ClassVar[str] = "Fluorescence pictures of three laboratories: nuclei and background, in blocks"
    licence: ClassVar[str] = "BSD-3-Clause (packages; they name no other owner of the pictures)"
    reference: ClassVar[Reference] = Reference(
        title="Cell Detection with Star-Convex Polygons",
        authors=("Schmidt", "Weigert", "Broaddus", "Myers"),
        year=2018,
        venue="MICCAI",
        arxiv="1806.03535",
    )
    unit: ClassVar[str] = "picture block"
    task: ClassVar[Task] = Task(kind="segmentation", classes=("background", "nucleus"), head="nuclei")
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="percentile")
    notes: ClassVar[tuple[str, ...]] = (
        "One sample of each kind: a picture, a time-lapse, a stack. Groups are blocks of them, 32 pixels apart; "
        "results speak of these samples, not of other cells, stains or microscopes.",
        "Frames of a block of the time-lapse, and slices of a block of the stack, show the same cells and lie in one "
        "group.",
        "Instance labels are joined to one class; who drew those of the time-lapse is not stated.",
    )

    def __init__(self, settings: Nuclei2DSettings | None = None) -> None:
        self.settings = settings or Nuclei2DSettings()

    @property
    def seen_as(self) -> tuple[str, ...]:
        """Names under which weight cards may list the pictures."""
        names = {"stardist": "stardist img2d", "scratch": "ndev scratch assay", "cells3d": "skimage.data.cells3d"}
        return tuple(names[source] for source in self.settings.sources)

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch and cut the pictures once, and return a case for each block and frame.

        Raises:
            DataError: a package cannot be reached, or its files are not the published ones.
        """
        return cohort_of(self, self._folder(progress), self.notes, self.seen_as)

    def validate(self, cohort: Cohort) -> None:
        """Check the published files, cases, groups, hashes, and the share of nuclei.

        Raises:
            DataError: something differs; says what.
        """
        for source in self.settings.sources:
            fetch(FILES[source])
        check_cohort(self, cohort, self._folder(None))
        shares = SIXTH_SHARES if self.settings.sixths else SHARES
        check_shares(self, self._folder(None), shares, tolerance=1e-4)

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        files = {f"{s} {name}": source for s in self.settings.sources for name, source in FILES[s].items()}
        groups = {source: math.prod(self.settings.cuts(source)) for source in self.settings.sources}
        facts = {
            "cases": sum(n * FRAMES[source] for source, n in groups.items()),
            "groups": sum(groups.values()),
            "settings": self.settings.model_dump(mode="json"),
            "image": {"channels": ["fluorescence"]},
            "labels": "outlined instances, joined",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }
        return card_of(self, files, facts)

    def _folder(self, progress: OnProgress | None) -> Path:
        files = {source: dict(FILES[source]) for source in self.settings.sources}
        cuts = {source: self.settings.cuts(source) for source in self.settings.sources}
        made = {"version": _VERSION, "gap": GAP, "cuts": cuts, "slices": SLICES, "files": files}
        return made_once(self.name, made, lambda folder: self._make(folder, progress))

    def _make(self, folder: Path, progress: OnProgress | None) -> list[Item]:
        items = []
        for source in self.settings.sources:
            files = fetch(FILES[source], progress)
            for name, picture, labels in READERS[source](files):
                for block in blocks(picture.shape, self.settings.cuts(source), GAP):
                    facts = {"id": f"{source}{name}-{block.name}", "group": f"{source}-{block.name}", "domain": source}
                    items.append(save_pair(folder, facts, picture[block.place], labels[block.place] > 0, 2))
        return items


def _stardist(files: dict[str, Path]) -> Iterator[tuple[str, Picture, Picture]]:
    yield "", read_tiff(files["picture"]).array[0], read_tiff(files["labels"]).array[0]


def _scratch(files: dict[str, Path]) -> Iterator[tuple[str, Picture, Picture]]:
    """Channels H3342, oblique, nuclei and cyto, each with all frames."""
    import tifffile

    stack = tifffile.imread(files["frames"])
    for frame, (picture, labels) in enumerate(zip(stack[0], stack[2], strict=True)):
        yield f"-t{frame}", picture, labels


def _cells3d(files: dict[str, Path]) -> Iterator[tuple[str, Picture, Picture]]:
    stack, labels = (read_tiff(files[name], dims=3).array[0] for name in ("stack", "labels"))
    for number in SLICES:
        yield f"-z{number}", stack[number], labels[number]


READERS: dict[str, Callable[[dict[str, Path]], Iterator[tuple[str, Picture, Picture]]]] = {
    "stardist": _stardist,
    "scratch": _scratch,
    "cells3d": _cells3d,
}
