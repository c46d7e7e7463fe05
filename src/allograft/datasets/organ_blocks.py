"""Organ blocks: the scans of ct_organs cut into parts, so that one scan can be learnt from and another predicted.

A plain CT, a CT with contrast agent (the aorta's median rises from 42 to 177 HU) and an MR show the same nine organs:
real changes of protocol and modality. Each scan is one picture and one domain; a study needs parts of it for its folds.

| setting | cases | groups of each scan |
|---|---|---|
| dims: 2 | axial slices, pixels of 3 mm | six slabs along the body, one slice unused between them |
| dims: 3 | blocks, voxels of 3 mm | six columns (2 from back to front, 3 from left to right), two voxels between them |
| task: patch | 32 x 32 windows of slices, the class is the organ at the centre; 2 of each organ and slice | slabs |

Slices that show fewer than six of the nine organs (chest, pelvis) are left out. Values are the scans' own (HU, or MR
signal), pixels are resampled linearly and labels to the nearest. Labels were made by TotalSegmentator, and the files
come as ct_organs says (`allow_build`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from allograft.core.config import Config
from allograft.core.reference import Reference
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_channels
from allograft.data.io.mask import read_mask
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess
from allograft.data.resample import resize, shape_at
from allograft.datasets.ct_organs import CLASSES, FILES, CTOrgans, CTOrgansSettings, Scan
from allograft.datasets.grid import blocks
from allograft.datasets.prepared import (
    Item,
    card_of,
    check_cohort,
    cohort_of,
    fetch,
    made_once,
    save_classed,
    save_pair,
    save_volumes,
)

__all__ = ["OrganBlocks", "OrganBlocksSettings"]

_VERSION = 2
SPACING, PARTS = 3.0, 6
CUTS: Mapping[int, tuple[tuple[int, int, int], int]] = {2: ((PARTS, 1, 1), 1), 3: ((1, 2, 3), 2)}
"""By dims, blocks along each axis and the unused elements between them."""

SHOWN = 6
SIZE, PER_SLICE = 32, 2
AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])

ORGANS = Task(kind="segmentation", classes=CLASSES, head="organs")
CASES: Mapping[str, Mapping[Scan, int]] = {
    "organs": {"plain": 42, "contrast": 12, "mr": 12},
    "patch": {"plain": 668, "contrast": 208, "mr": 202},
    "blocks": {"plain": PARTS, "contrast": PARTS, "mr": PARTS},
}
"""Cases of each scan: slices, patches and blocks."""

PATCH = Task(kind="multiclass", classes=CLASSES[1:], head="organ")
Values = npt.NDArray[np.int16]
Labels = npt.NDArray[np.uint8]


class OrganBlocksSettings(Config):
    """Which scans, and what is made of them.

    Args:
        scans: which of the three; the domains.
        dims: 2 for slices, 3 for blocks.
        task: "organs" labels every element, "patch" is a classification of windows (dims 2).
        allow_build: let pip run the package's build code, which fetching its source archive needs.
    """

    scans: tuple[Scan, ...] = Field(default=("plain", "contrast", "mr"), min_length=1)
    dims: Literal[2, 3] = 2
    task: Literal["organs", "patch"] = "organs"
    allow_build: bool = False

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        if self.task == "patch" and self.dims == 3:
            msg = "task: patch classifies windows of slices; give dims: 2"
            raise ValueError(msg)
        return self


class OrganBlocks:
    """Nine organs in a plain CT, a CT with contrast and an MR, in parts.

    Args:
        settings: which scans, slices or blocks, and the task.
    """

    Settings = OrganBlocksSettings

    name: ClassVar[str] = "organ_blocks"
    title: ClassVar[str] = "Parts of one plain CT, one CT with contrast and one MR: nine abdominal organs"
    licence: ClassVar[str] = CTOrgans.licence
    reference: ClassVar[Reference] = CTOrgans.reference
    unit: ClassVar[str] = "scan part"
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="standard")
    seen_as: ClassVar[tuple[str, ...]] = CTOrgans.seen_as

    def __init__(self, settings: OrganBlocksSettings | None = None) -> None:
        self.settings = settings or OrganBlocksSettings()

    @property
    def task(self) -> Task:
        """Organs of every element, or the organ of a patch, as the settings say."""
        return ORGANS if self.settings.task == "organs" else PATCH

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report must carry."""
        return (
            "Each domain is ONE scan and groups are parts of it, a few millimetres apart: results speak of these three "
            "scans, not of patients or scanners, and parts of one scan are not independent.",
            "The scans show different people, as far as is known, so a change of scan is also one of anatomy, field of "
            "view and slice distance.",
            "Labels were made by TotalSegmentator, not drawn by people.",
        )

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch and cut the scans once, and return a case for each slice, block or patch.

        Raises:
            DataError: the package cannot be reached or may not be built, or its files are not the published ones.
        """
        return cohort_of(self, self._folder(progress), self.notes, self.seen_as)

    def validate(self, cohort: Cohort) -> None:
        """Check the published files, and that cases, groups, labels and prepared files are the data set's own.

        Raises:
            DataError: something differs; says what.
        """
        for scan in self.settings.scans:
            fetch(FILES[scan], allow_build=self.settings.allow_build)
        check_cohort(self, cohort, self._folder(None))

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        said = self.settings
        facts = {
            "cases": sum(CASES["blocks" if said.dims == 3 else said.task][scan] for scan in said.scans),
            "groups": PARTS * len(said.scans),
            "domains": list(said.scans),
            "settings": said.model_dump(mode="json"),
            "image": {"channels": ["HU, or MR signal"], "spacing_mm": SPACING},
            "labels": "made by TotalSegmentator",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }
        files = {f"{scan} {name}": source for scan in said.scans for name, source in FILES[scan].items()}
        return card_of(self, files, facts)

    def _folder(self, progress: OnProgress | None) -> Path:
        files = {scan: dict(FILES[scan]) for scan in self.settings.scans}
        numbers = {
            "spacing": SPACING,
            "cuts": CUTS[self.settings.dims],
            "shown": SHOWN,
            "size": SIZE,
            "per_slice": PER_SLICE,
        }
        said = self.settings.model_dump(mode="json", exclude={"allow_build"})
        made = {"version": _VERSION, **numbers, **said, "files": files}
        return made_once(self.name, made, lambda folder: self._make(folder, progress))

    def _make(self, folder: Path, progress: OnProgress | None) -> list[Item]:
        said, items = self.settings, []
        scans = CTOrgans(CTOrgansSettings(scans=said.scans, allow_build=said.allow_build)).prepare(progress)
        for case in scans:
            image, labels = _read(case, flat=said.dims == 2)
            shown = np.array([len(np.unique(each[each > 0])) >= SHOWN for each in labels])
            image, labels = image[shown], labels[shown]
            for part in blocks(image.shape, *CUTS[said.dims]):
                facts = {"group": f"{case.id}-{part.name}", "domain": case.domain}
                if said.dims == 3:
                    pair = image[part.place], labels[part.place]
                    items.append(save_volumes(folder, {"id": facts["group"], **facts}, pair, AFFINE, len(CLASSES)))
                    continue
                for number in range(*part.place[0].indices(len(image))):
                    name = {"id": f"{case.id}-slice{number:03d}", **facts, "attributes": {"slice": str(number)}}
                    items += self._slice(folder, name, image[number], labels[number])
        return items

    def _slice(self, folder: Path, facts: dict[str, Any], image: Values, labels: Labels) -> list[Item]:
        """Keep a slice, or the patches of it."""
        if self.settings.task == "organs":
            return [save_pair(folder, facts, image, labels, len(CLASSES))]
        return [
            save_classed(folder, {**facts, "id": f"{facts['id']}-{organ}-{row:03d}-{column:03d}"}, patch, organ)
            for organ, row, column, patch in _patches(image, labels, facts["id"])
        ]


def _read(case: Case, *, flat: bool) -> tuple[Values, Labels]:
    """Return a scan and its organs (D, H, W) with elements of SPACING mm; `flat` leaves the slices as they are."""
    scan, target = read_channels(case.image), case.targets[ORGANS.head]
    assert isinstance(target, ImageRef), "ct_organs has masks"
    labels = read_mask(target, onto=case.image[0], dims=3).array[0]
    sides = list(shape_at(scan.geometry, labels.shape, (SPACING,) * 3))
    if flat:
        sides[0] = len(labels)
    image = resize(scan.array.astype(np.float32), sides)[0]
    # The nearest old element of each new one's centre, on the grid that resize() samples.
    near = [np.floor((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(sides, labels.shape, strict=True)]
    return np.rint(image).astype(np.int16), labels[np.ix_(*near)].astype(np.uint8)


def _patches(image: Values, labels: Labels, name: str) -> Iterator[tuple[int, int, int, Values]]:
    """Yield organ, row, column and window (SIZE, SIZE) of up to PER_SLICE drawn centres of each organ."""
    half = SIZE // 2
    wide = np.pad(image, half, constant_values=image.min())
    for organ in range(len(PATCH.classes)):
        places = np.argwhere(labels == organ + 1)
        # RandomState's stream is frozen by numpy's policy, so the draw is the same for ever.
        draw = np.random.RandomState(seed_for(OrganBlocks.name, name, organ) % 2**32).permutation(len(places))
        for row, column in places[np.sort(draw[:PER_SLICE])]:
            yield organ, int(row), int(column), wide[row : row + SIZE, column : column + SIZE]
