"""CT organs: one plain CT, one CT with contrast as a DICOM series, one MR, and the organs that all three show.

| scan | image | labels |
|---|---|---|
| plain | abdomen and pelvis, 112 x 101 x 122 at 3 mm (aorta about 42 HU) | TotalSegmentator, fast model |
| contrast | 20 slices of 512 x 512 at 2 mm, DICOM (aorta about 177 HU) | TotalSegmentator |
| mr | abdomen, 20 x 91 x 117 at 3 mm | TotalSegmentator's MR model |

These are the reference files of TotalSegmentator's own tests. The three label maps number their structures
differently; CODES sorts both lists into nine organs, vertebrae and back muscles joined from their parts, all
else background. The labels were made by that program, not drawn by people.

The files lie only in the package's source archive. To fetch it, pip runs that package's build code, which
`allow_build` must allow; or put the archive into the folder that ALLOGRAFT_WHEELHOUSE names, then nothing is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from allograft.core.config import Config
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess
from allograft.datasets.prepared import Sources, card_of, fetch
from allograft.datasets.referenced import check_referenced

__all__ = ["CTOrgans", "CTOrgansSettings", "Scan"]

Scan = Literal["plain", "contrast", "mr"]

CLASSES = (
    "background",
    "spleen",
    "liver",
    "stomach",
    "colon",
    "aorta",
    "inferior vena cava",
    "spinal cord",
    "vertebrae",
    "back muscles",
)


class _List(NamedTuple):
    """A list of structures: how many it has, and the codes of each of our classes behind the background."""

    length: int
    codes: tuple[tuple[int, ...], ...]


CODES: Mapping[str, _List] = {
    "total": _List(117, ((1,), (5,), (6,), (20,), (52,), (63,), (79,), tuple(range(26, 51)), (86, 87))),
    "total_mr": _List(50, ((1,), (5,), (6,), (15,), (23,), (24,), (21,), (19,), (46, 47))),
}
"""Codes in TotalSegmentator's lists of structures for CT and MR, version 2."""

_ROOT = "pypi:TotalSegmentator==2.18.0#tests/reference_files/"
FILES: Mapping[Scan, Sources] = {
    "plain": {
        "image": (f"{_ROOT}example_ct.nii.gz", "dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1"),
        "labels": (
            f"{_ROOT}example_seg_fast_force_split.nii.gz",
            "e8097758e56e73099075b6caaebce23ef11bc6fad66a4ec3753b9406846558c7",
        ),
    },
    "contrast": {
        "image": (f"{_ROOT}example_ct_dicom/", "62e48a2b3768c089f34567514bbd04f11457459e59d8a3cd9155b14fe71c826b"),
        "labels": (
            f"{_ROOT}example_seg_dicom.nii.gz",
            "98af7f6536c316ff9084054f20956cd3e28af376b81d582d269fbea2744878fc",
        ),
    },
    "mr": {
        "image": (f"{_ROOT}example_mr_sm.nii.gz", "209b46efaff595dd54a9332872e17a722b62654bbb68dbd89acd5090701bbd4f"),
        "labels": (f"{_ROOT}example_seg_mr.nii.gz", "e73a5ee12962aa2bb2f3e43ab58dfc67990c5a7ef2dcb426a1bf5e5982b9587f"),
    },
}
LISTS: Mapping[Scan, str] = {"plain": "total", "contrast": "total", "mr": "total_mr"}
COUNTS: Mapping[str, tuple[int, ...]] = {
    "plain": (1211994, 9668, 41692, 4836, 59968, 1839, 2266, 1553, 15562, 30686),
    "contrast": (4568241, 130634, 366708, 74102, 10340, 11723, 4772, 4911, 33506, 37943),
    "mr": (176808, 1941, 18480, 4221, 1683, 672, 444, 544, 2006, 6141),
}
"""Voxels of each class."""


class CTOrgansSettings(Config):
    """Which scans are used.

    Args:
        scans: which of the three.
        allow_build: let pip run the package's build code, which fetching its source archive needs.
    """

    scans: tuple[Scan, ...] = Field(default=("plain", "contrast", "mr"), min_length=1)
    allow_build: bool = False


class CTOrgans:
    """Nine organs in a plain CT, a CT with contrast and an MR.

    Args:
        settings: which scans.
    """

    Settings = CTOrgansSettings

    name: ClassVar[str] = "ct_organs"
    title: ClassVar[str] = "Nine abdominal organs in one plain CT, one CT with contrast (DICOM) and one MR"
    licence: ClassVar[str] = "Apache-2.0 (package; it has no separate notice for these files)"
    reference: ClassVar[Reference] = Reference(
        title="TotalSegmentator: robust segmentation of 104 anatomical structures in CT images",
        authors=("Wasserthal", "others"),
        year=2023,
        venue="Radiology: Artificial Intelligence",
        arxiv="2208.05868",
    )
    unit: ClassVar[str] = "scan"
    task: ClassVar[Task] = Task(kind="segmentation", classes=CLASSES, head="organs")
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="standard", spacing=(3.0, 3.0, 3.0))
    notes: ClassVar[tuple[str, ...]] = (
        "Three scans in all, one of each kind: a score is that of single scans and has no interval over patients. "
        "Whether two of them show one person is not stated.",
        "Labels were made by TotalSegmentator (its fast 3 mm model for the plain CT), not drawn by people; a high "
        "score means agreement with that program.",
    )
    seen_as: ClassVar[tuple[str, ...]] = ("TotalSegmentator tests", "totalsegmentator example_ct")

    def __init__(self, settings: CTOrgansSettings | None = None) -> None:
        self.settings = settings or CTOrgansSettings()

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch the scans and return a case for each.

        Raises:
            DataError: the package cannot be reached or may not be built, or its files are not the published ones.
        """
        cases = tuple(self._case(scan, progress) for scan in self.settings.scans)
        return Cohort(self.name, self.task, cases, unit=self.unit, notes=self.notes, seen_as=self.seen_as)

    def validate(self, cohort: Cohort) -> None:
        """Check the published files, the cases, and the voxels of each organ.

        Raises:
            DataError: something differs; says what.
        """
        check_referenced(self, cohort, self.prepare().cases, COUNTS)

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        facts = {
            "cases": len(self.settings.scans),
            "groups": len(self.settings.scans),
            "settings": self.settings.model_dump(mode="json"),
            "image": {"channels": ["HU, or MR signal"]},
            "labels": "made by TotalSegmentator",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }
        files = {f"{scan} {name}": source for scan in self.settings.scans for name, source in FILES[scan].items()}
        return card_of(self, files, facts)

    def _case(self, scan: Scan, progress: OnProgress | None) -> Case:
        files = fetch(FILES[scan], progress, allow_build=self.settings.allow_build)
        return Case(
            id=scan,
            image=(ImageRef(files["image"]),),
            targets={self.task.head: ImageRef(files["labels"], classes=meaning(LISTS[scan]))},
            group=scan,
            domain=scan,
        )


def meaning(name: str) -> tuple[tuple[str, int], ...]:
    """Return the class index of each code of a list of structures, 0 for those that are no organ of ours."""
    known = CODES[name]
    organs = {code: index for index, codes in enumerate(known.codes, start=1) for code in codes}
    return tuple((str(code), organs.get(code, 0)) for code in range(known.length + 1))
