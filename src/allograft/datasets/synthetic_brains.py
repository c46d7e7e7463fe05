"""Synthetic brains: SYNTHETIC subjects, each the MNI152 template deformed at random and re-contrasted.

They let a protocol run that no public file feeds: many labelled subjects, several MR channels, another scanner,
imperfect labels. The anatomy is real but it is one (an average of 152 adults); everything else is drawn (see
synthetic_scans for how), so a study on them says whether a recipe runs and how it reacts to few labels, to imperfect
labels or to another scanner; it says nothing of real people, and its numbers are not those of a paper.

| setting | what it gives |
|---|---|
| task: tissue | background, grey matter, white matter |
| task: lesion | background, edema, core, enhancing: one drawn lesion a subject |
| scanner: b | flatter contrast, stronger bias field, more noise than a; the same anatomy and labels |
| labels: automatic | nearest tissue mean in the noisy image, in place of the truth |

Subjects of one `seed` are the same for each scanner, task and labels; other seeds give other subjects. Give data sets
of one study that must not share subjects different seeds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from allograft.core.config import Config
from allograft.core.reference import Reference
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.io.nifti_write import save_nifti
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess
from allograft.datasets.brain_tissue import EXTENT, FILES, LOW, maps_of
from allograft.datasets.grid import Box
from allograft.datasets.prepared import (
    Item,
    card_of,
    check_cohort,
    check_shares,
    cohort_of,
    counts_of,
    fetch,
    made_once,
    sha256_of,
)
from allograft.datasets.synthetic_scans import MEANS, SCANNERS, Anatomy, Modality, deform, guess, lesion, scan

__all__ = ["Subject", "SyntheticBrains", "SyntheticBrainsSettings", "subject"]

_VERSION = 1

TISSUE = Task(kind="segmentation", classes=("background", "grey matter", "white matter"), head="tissue")
LESION = Task(kind="segmentation", classes=("background", "edema", "core", "enhancing"), head="lesion")

SHARES = (0.6032, 0.2563, 0.1405)
"""Share of background, grey and white matter in the default subjects; those of other seeds differ by some 0.001."""


class SyntheticBrainsSettings(Config):
    """Which synthetic subjects.

    Args:
        subjects: how many, >= 1.
        modalities: channels, one file each, in this order; all different.
        task: what is labelled.
        scanner: how the images look; the domain.
        labels: "truth", or "automatic" for imperfect ones. Automatic lesions need "t1c" and "flair".
        spacing: distance of voxels in mm, in [1, 4].
        amplitude: standard deviation of the displacement along each axis in mm, in (0, 10].
        smoothness: standard deviation of the displacement's smoothing in mm, at least four times the amplitude: then
            it does not fold.
        seed: other seeds are other subjects.
    """

    subjects: int = Field(default=8, ge=1, le=200)
    modalities: tuple[Modality, ...] = Field(default=("t1",), min_length=1, max_length=4)
    task: Literal["tissue", "lesion"] = "tissue"
    scanner: Literal["a", "b"] = "a"
    labels: Literal["truth", "automatic"] = "truth"
    spacing: float = Field(default=2.0, ge=1, le=4)
    amplitude: float = Field(default=4.0, gt=0, le=10)
    smoothness: float = Field(default=16.0, gt=0, le=60)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        if len(set(self.modalities)) < len(self.modalities):
            msg = f"modalities are named once each, got {list(self.modalities)}"
            raise ValueError(msg)
        if self.smoothness < 4 * self.amplitude:
            msg = (
                f"smoothness must be at least four times the amplitude ({4 * self.amplitude:g} mm), else anatomy "
                f"folds; got {self.smoothness:g} mm"
            )
            raise ValueError(msg)
        if (self.task, self.labels) == ("lesion", "automatic") and not {"t1c", "flair"} <= {*self.modalities}:
            msg = 'automatic labels of lesions need the modalities "t1c" and "flair": other images do not tell them'

            raise ValueError(msg)
        return self


class Subject(NamedTuple):
    """A synthetic subject: channels by modality, and its labels (true or automatic); each (D, H, W)."""

    images: dict[Modality, npt.NDArray[np.int16]]
    labels: npt.NDArray[np.uint8]


class SyntheticBrains:
    """Synthetic subjects made from the MNI152 template.

    Args:
        settings: how many, which channels, task, scanner and labels.
    """

    Settings = SyntheticBrainsSettings

    name: ClassVar[str] = "synthetic_brains"
    title: ClassVar[str] = "SYNTHETIC subjects: the MNI152 template deformed at random and re-contrasted"
    licence: ClassVar[str] = "BSD-3-Clause (package); MNI's permissive notice (template)"
    reference: ClassVar[Reference] = Reference(
        title="Unbiased average age-appropriate atlases for pediatric studies",
        authors=("Fonov", "Evans", "Botteron", "Almli", "McKinstry", "Collins"),
        year=2011,
        venue="NeuroImage",
    )
    unit: ClassVar[str] = "synthetic subject"
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="percentile")
    seen_as: ClassVar[tuple[str, ...]] = ("MNI152", "ICBM 2009a")

    def __init__(self, settings: SyntheticBrainsSettings | None = None) -> None:
        self.settings = settings or SyntheticBrainsSettings()

    @property
    def task(self) -> Task:
        """Tissue or lesion, as the settings say."""
        return TISSUE if self.settings.task == "tissue" else LESION

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report must carry; the first says that the subjects are synthetic."""
        drawn = "contrast, bias field and noise" + (", and the lesions" if self.settings.task == "lesion" else "")
        made = (
            "Labels are exact: they are made with the images."
            if self.settings.labels == "truth"
            else "Labels are imperfect on purpose: nearest tissue means in the noisy image stand in for an atlas tool."
        )
        return (
            "SYNTHETIC data: every subject is ONE template (MNI152) deformed at random and re-contrasted; nothing here "
            "says how a method does on real people.",
            f"Drawn, not measured: the deformation, {drawn} (scanner {self.settings.scanner}). Intervals and p-values "
            "speak of such draws; subjects differ less than people do.",
            made,
        )

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch the template, make the subjects once, and return a case for each.

        Raises:
            DataError: the package cannot be reached, or its files are not the published ones.
        """
        found = cohort_of(self, self._folder(progress), self.notes, self.seen_as)
        return replace(found, channels=tuple(self.settings.modalities))

    def validate(self, cohort: Cohort) -> None:
        """Check the template's files, cases, groups, hashes and, of true tissue labels, the shares of the classes.

        Raises:
            DataError: something differs; says what.
        """
        fetch(FILES["mni152"])
        folder = self._folder(None)
        check_cohort(self, cohort, folder)
        if (self.settings.task, self.settings.labels) == ("tissue", "truth"):
            check_shares(self, folder, {_domain(self.settings): SHARES}, tolerance=0.02)

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        facts = {
            "synthetic": True,
            "cases": self.settings.subjects,
            "groups": self.settings.subjects,
            "settings": self.settings.model_dump(mode="json"),
            "image": {"channels": list(self.settings.modalities), "spacing_mm": [self.settings.spacing] * 3},
            "labels": f"made with the images: {self.settings.labels}",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }
        return card_of(self, dict(FILES["mni152"]), facts)

    def _folder(self, progress: OnProgress | None) -> Path:
        drawn = {"means": {**MEANS}, "scanner": SCANNERS[self.settings.scanner], "files": dict(FILES["mni152"])}
        said = {"version": _VERSION, "low": LOW, "extent": EXTENT, **drawn, **self.settings.model_dump(mode="json")}
        return made_once(self.name, said, lambda folder: self._make(folder, progress))

    def _make(self, folder: Path, progress: OnProgress | None) -> list[Item]:
        box = Box(low=LOW, extent=EXTENT, spacing=self.settings.spacing)
        t1, grey, white = maps_of("mni152", fetch(FILES["mni152"], progress), box)
        head = Anatomy(t1 * np.float32(MEANS["t1"][2] / np.median(t1[white > 0.9])), grey, white)
        numbers = range(self.settings.subjects)
        return [self._save(folder, number, subject(head, self.settings, number), box) for number in numbers]

    def _save(self, folder: Path, number: int, made: Subject, box: Box) -> Item:
        name = f"synthetic-subject-{self.settings.seed}-{number:02d}"
        mask = folder / f"{name}-{self.task.head}.nii.gz"
        files = [folder / f"{name}-{modality}.nii.gz" for modality in made.images]
        for path, image in zip(files, made.images.values(), strict=True):
            save_nifti(path, image.transpose(2, 1, 0), box.affine())
        save_nifti(mask, made.labels.transpose(2, 1, 0), box.affine())
        return Item(
            id=name,
            image=files[0].name,
            mask=mask.name,
            group=name,
            domain=_domain(self.settings),
            sha256=sha256_of(files[0], mask, *files[1:]),
            counts=counts_of(made.labels, len(self.task.classes)),
            channels=tuple(file.name for file in files[1:]),
        )


def subject(template: Anatomy, settings: SyntheticBrainsSettings, number: int) -> Subject:
    """Return a synthetic subject; the same number and seed give the same anatomy for all other settings.

    Args:
        template: on a grid of `settings.spacing`, its T1's white matter at the mean of "t1" in `MEANS`.
        settings: what is made.
        number: of the subject, >= 0.
    """

    def rng(what: str, *more: str) -> np.random.Generator:
        return np.random.default_rng(seed_for("synthetic_brains", what, settings.seed, number, *more))

    spacing, machine = settings.spacing, SCANNERS[settings.scanner]
    head = deform(template, settings.amplitude / spacing, settings.smoothness / spacing, rng("deformation"))
    found = lesion(head, spacing, rng("lesion")) if settings.task == "lesion" else None
    images = {
        modality: scan(head, found, modality, machine, spacing, rng("scan", settings.scanner, modality))
        for modality in settings.modalities
    }
    if settings.labels == "automatic":
        return Subject(images, guess(images, machine, ill=found is not None))
    return Subject(images, head.labels() if found is None else found)


def _domain(settings: SyntheticBrainsSettings) -> str:
    return f"synthetic-scanner-{settings.scanner}"
