"""Brain regions: the left and right half of one person's brain (Colin27) and of one macaque atlas (INIA19).

| data set | image | regions |
|---|---|---|
| brain_regions | Colin27 ("ch2"): one person scanned 27 times, T1, with skull, 1 mm | AAL's 116 in eight lobes |
| macaque_regions | INIA19: average of 19 rhesus macaques, T1, brain only, 0.5 mm | eight large NeuroMaps regions |

AAL was drawn on this very brain. Its second number of each region begins with the lobe, which the shipped list
gives; regions are joined by that digit. NeuroMaps numbers left regions n and right ones n + 1000; the package
ships no names, so the eight pairs that are largest are classes under their numbers.

A case is one half of a brain, at least 3 mm (macaque 1.5 mm) from the middle plane. Both halves are of ONE
brain each: train on one and test on the other is the most that a study can do here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.io.image import Image
from allograft.data.io.nifti import read_nifti
from allograft.data.io.nifti_write import save_nifti
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess
from allograft.datasets.prepared import (
    Item,
    Sources,
    card_of,
    check_cohort,
    check_shares,
    cohort_of,
    counts_of,
    fetch,
    made_once,
    sha256_of,
)

__all__ = ["BrainRegions", "MacaqueRegions"]

_VERSION = 1
_ROOT = "deb:mricron-data=1.2.20211006+dfsg-4#usr/share/mricron/templates/"

LOBES = {2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7, 9: 8}
"""Our class by the first digit of AAL's number."""

PAIRS = (55, 193, 2, 54, 1, 147, 196, 58)
"""Left numbers of the macaque regions, largest pair first; right ones are 1000 higher."""


class _Halves:
    """What both data sets do: fetch, join the regions, cut into halves, check."""

    name: ClassVar[str]
    title: ClassVar[str]
    licence: ClassVar[str] = "BSD-3-Clause (package; it has no separate notice for these files)"
    reference: ClassVar[Reference]
    unit: ClassVar[str] = "hemisphere"
    task: ClassVar[Task]
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="percentile")
    notes: ClassVar[tuple[str, ...]]
    seen_as: ClassVar[tuple[str, ...]]
    files: ClassVar[Sources]
    domain: ClassVar[str]
    middle_mm: ClassVar[float]
    shares: ClassVar[tuple[float, ...]]

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch the atlas, cut it once, and return a case for each half.

        Raises:
            DataError: the package cannot be reached, or its files are not the published ones.
        """
        return cohort_of(self, self._folder(progress), self.notes, self.seen_as)

    def validate(self, cohort: Cohort) -> None:
        """Check the published files, cases, groups, hashes, and the shares of the regions.

        Raises:
            DataError: something differs; says what.
        """
        fetch(self.files)
        check_cohort(self, cohort, self._folder(None))
        check_shares(self, self._folder(None), {self.domain: self.shares}, tolerance=1e-4)

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        facts = {
            "cases": 2,
            "groups": 2,
            "image": {"channels": ["T1"]},
            "labels": "published atlas",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }
        return card_of(self, self.files, facts)

    def _labels(self, codes: npt.NDArray[np.int64], files: Mapping[str, Path]) -> npt.NDArray[np.uint8]:
        """Return our classes for the atlas's codes."""
        raise NotImplementedError

    def _folder(self, progress: OnProgress | None) -> Path:
        made = {"version": _VERSION, "middle": self.middle_mm, "files": dict(self.files)}
        return made_once(self.name, made, lambda folder: self._make(folder, progress))

    def _make(self, folder: Path, progress: OnProgress | None) -> list[Item]:
        files = fetch(self.files, progress)
        image = read_nifti(files["t1"], dims=3)
        labels = self._labels(read_nifti(files["regions"], dims=3).array[0].astype(np.int64), files)
        return [self._half(folder, side, image, labels) for side in ("left", "right")]

    def _half(self, folder: Path, side: str, image: Image, labels: npt.NDArray[np.uint8]) -> Item:
        place, affine = _side(image, side, self.middle_mm)
        files = folder / f"{self.domain}-{side}.nii.gz", folder / f"{self.domain}-{side}-regions.nii.gz"
        for path, volume in zip(files, (image.array[0].astype(np.float32), labels), strict=True):
            save_nifti(path, volume[:, :, place].transpose(2, 1, 0), affine)
        return Item(
            id=f"{self.domain}-{side}",
            image=files[0].name,
            mask=files[1].name,
            group=side,
            domain=self.domain,
            sha256=sha256_of(*files),
            counts=counts_of(labels[:, :, place], len(self.task.classes)),
        )


class BrainRegions(_Halves):
    """Eight lobes of one person's brain."""

    name: ClassVar[str] = "brain_regions"
    title: ClassVar[str] = "Lobes of one person's brain (Colin27 with AAL regions), left and right half"
    reference: ClassVar[Reference] = Reference(
        title="Automated Anatomical Labeling of Activations in SPM Using a Macroscopic Anatomical Parcellation",
        authors=("Tzourio-Mazoyer", "others"),
        year=2002,
        venue="NeuroImage",
    )
    task: ClassVar[Task] = Task(
        kind="segmentation",
        classes=(
            "background",
            "frontal lobe",
            "insula",
            "limbic lobe",
            "occipital lobe",
            "parietal lobe",
            "deep grey matter",
            "temporal lobe",
            "cerebellum",
        ),
        head="regions",
    )
    notes: ClassVar[tuple[str, ...]] = (
        "ONE person's brain; cases are its left and right half, which mirror each other. Nothing here says how a "
        "method does on other people.",
        "Lobes are AAL's regions joined by the first digit of their numbers; white matter outside them is background.",
    )
    seen_as: ClassVar[tuple[str, ...]] = ("Colin27", "ch2", "AAL")
    files: ClassVar[Sources] = {
        "t1": (f"{_ROOT}ch2.nii.gz", "a009051127f64dc3dd554d5f5b589870ea72106d9642c21b4e7093e478cfc309"),
        "regions": (f"{_ROOT}aal.nii.gz", "b512dcd3f36b77f56be7a9a038134096e66314b7e8c31d25875b96bcf6991454"),
        "names": (f"{_ROOT}aal.nii.txt", "1788d6556a9ec056de9867b2382cf1ce1b51b87ae4cfd9cd25de48ae4dde709e"),
    }
    domain: ClassVar[str] = "colin27"
    middle_mm: ClassVar[float] = 3.0
    shares: ClassVar[tuple[float, ...]] = (
        0.79576,
        0.05980,
        0.00427,
        0.01165,
        0.02913,
        0.03412,
        0.00770,
        0.03111,
        0.02646,
    )

    def _labels(self, codes: npt.NDArray[np.int64], files: Mapping[str, Path]) -> npt.NDArray[np.uint8]:
        table = np.zeros(int(codes.max()) + 1, np.uint8)
        for line in files["names"].read_text(encoding="utf-8").split("\n"):
            if words := line.split():
                table[int(words[0])] = LOBES[int(words[2][0])]
        return table[codes]


class MacaqueRegions(_Halves):
    """Eight large regions of the macaque's brain."""

    name: ClassVar[str] = "macaque_regions"
    title: ClassVar[str] = "Eight regions of the macaque's brain (INIA19 with NeuroMaps), left and right half"
    reference: ClassVar[Reference] = Reference(
        title="The INIA19 template and NeuroMaps atlas for primate brain image parcellation and spatial normalization",
        authors=("Rohlfing", "Kroenke", "Sullivan", "Dubach", "Bowden", "Grant", "Pfefferbaum"),
        year=2012,
        venue="Frontiers in Neuroinformatics",
    )
    task: ClassVar[Task] = Task(
        kind="segmentation", classes=("background", *(f"NeuroMaps {code}" for code in PAIRS)), head="regions"
    )
    notes: ClassVar[tuple[str, ...]] = (
        "ONE average brain of 19 macaques; cases are its left and right half, which mirror each other.",
        "Regions bear NeuroMaps' numbers, because the package ships no names; the other labels are background.",
    )
    seen_as: ClassVar[tuple[str, ...]] = ("INIA19", "NeuroMaps")
    files: ClassVar[Sources] = {
        "t1": (f"{_ROOT}inia19-t1-brain.nii.gz", "3f0707f4999a0c6b56d6c9a0145310cba17753e2b4612f577d8dbfe65a89e231"),
        "regions": (
            f"{_ROOT}inia19-NeuroMaps.nii.gz",
            "5e3019d073aedc6cabfeed107b049959fe8398a8ab6b0218d8ac050c311aaf79",
        ),
    }
    domain: ClassVar[str] = "inia19"
    middle_mm: ClassVar[float] = 1.5
    shares: ClassVar[tuple[float, ...]] = (
        0.92402,
        0.01596,
        0.01158,
        0.00965,
        0.00959,
        0.00891,
        0.00814,
        0.00628,
        0.00588,
    )

    def _labels(self, codes: npt.NDArray[np.int64], files: Mapping[str, Path]) -> npt.NDArray[np.uint8]:
        table = np.zeros(int(codes.max()) + 1, np.uint8)
        for label, code in enumerate(PAIRS, start=1):
            table[[code, code + 1000]] = label
        return table[codes]


def _side(image: Image, side: str, middle_mm: float) -> tuple[slice, npt.NDArray[np.float64]]:
    """Return the columns of one side of the middle plane, and the map of that part from (R, A, S) index to world."""
    affine = image.geometry.affine()
    right = affine[0, 3] + affine[0, 2] * np.arange(image.geometry.shape[2])
    columns = np.flatnonzero(right < -middle_mm if side == "left" else right > middle_mm)
    turned = affine[:, [2, 1, 0, 3]]
    turned[:3, 3] += turned[:3, 0] * columns[0]
    return slice(int(columns[0]), int(columns[-1]) + 1), turned
