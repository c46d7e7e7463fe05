"""Synthetic protocols: SYNTHETIC subjects at four sites, whose MR protocols are calculated from tissue parameters.

The anatomy is real but it is one: the MNI152 template's maps of grey and white matter, deformed at random for each
subject (as in synthetic_brains). How a site sees it is physics (see protocols: signal equations with BrainWeb's tissue
parameters at 1.5 T, bias field, point spread, Rician noise), so the shift between sites is known, and it was fixed
before any method of adaptation was run on it. It says how a method reacts to such a change; not how it does on people.

| site | echo | TR / TE in ms, flip | looks |
|---|---|---|---|
| siteA | spoiled gradient | 18 / 10, 30 degrees | T1-weighted: BrainWeb's own T1 protocol |
| siteB | spoiled gradient | 25 / 5, 12 degrees | flat T1 contrast, strong bias field, noisier, coarser |
| siteC | spin | 600 / 15 | T1-weighted, flatter than siteA |
| siteD | spin | 3300 / 100 | T2-weighted: the tissues' order is turned around |

Tasks: "tissue" (background, fluid, grey matter, white matter: the largest share) and "level", which of three levels of
the head an image shows (up to 6 mm off, drawn for each subject). With dims 2 an image is an axial slice of 64 x 64
pixels of 3 mm, one at each level; with dims 3 it is the head in 32 x 40 x 32 voxels of 5 mm. For "level" it is a window
in the middle of the head, which shows no outline: 32 x 32 pixels, or 16 x 24 x 24 voxels. Labels come from the anatomy
alone.

What the change costs plain training (benchmarks/protocol_shift.py; the network of siteA on another site against that
site's own, per cent): mean Dice of tissues at siteB 54.5 against 67.1 in 2-D (--seeds 1) and 37.4 against 52.4 in 3-D
(--seeds 1); balanced accuracy of levels in 2-D at siteB 75.0 against 90.3 (--seeds 3 --steps 200), in 3-D at siteD 62.5
against 100 (--seeds 1 --steps 80), where siteB costs nothing. docs/data.md has the table.

Every site has other subjects. With `paired` each subject is seen by every site, without having moved.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from allograft.data.origins import OnProgress
from allograft.data.preprocess import Preprocess
from allograft.datasets.brain_tissue import FILES, maps_of
from allograft.datasets.grid import Box
from allograft.datasets.prepared import (
    Item,
    card_of,
    check_cohort,
    check_shares,
    cohort_of,
    fetch,
    made_once,
    save_classed,
    save_pair,
    save_volumes,
)
from allograft.datasets.protocols import SITES, TISSUES, VARY, SiteName, Volume, acquire
from allograft.datasets.synthetic_scans import Anatomy, deform

__all__ = ["Head", "SyntheticProtocols", "SyntheticProtocolsSettings", "head_of"]

_VERSION = 1
AMPLITUDE_MM, SMOOTHNESS_MM = 4.0, 16.0
BOXES = {
    2: Box(low=(-72.0, -112.5, -94.5), extent=(156.0, 192.0, 192.0), spacing=3.0),
    3: Box(low=(-74.0, -116.0, -77.5), extent=(160.0, 200.0, 160.0), spacing=5.0),
}
LEVELS = {"temporal lobes": -20.0, "basal ganglia": 8.0, "crown": 36.0}
"""Height of the middle of each level above the anterior commissure in mm."""

JITTER_MM = 6.0
WINDOWS = {2: (1, 32, 32), 3: (16, 24, 24)}
"""Elements of an image of the task "level", around its level in the middle of the grid."""


TISSUE = Task(kind="segmentation", classes=("background", *TISSUES), head="tissue")
LEVEL = Task(kind="multiclass", classes=tuple(LEVELS), head="level")
SHARES: dict[int, tuple[float, ...]] = {2: (0.4872, 0.0602, 0.2921, 0.1605), 3: (0.5843, 0.0776, 0.2241, 0.1141)}
"""Share of each class in the images of the default subjects, by dims; those of other seeds differ by some 0.001."""


class SyntheticProtocolsSettings(Config):
    """Which synthetic subjects, and who sees them.

    Args:
        dims: 2 for axial slices, 3 for volumes.
        task: what is labelled.
        sites: which sites, all different; the domains.
        subjects: how many at each site, >= 1.
        paired: whether every site sees the same subjects; then a subject's images at all sites are one group.
        seed: other seeds are other subjects.
    """

    dims: Literal[2, 3] = 2
    task: Literal["tissue", "level"] = "tissue"
    sites: tuple[SiteName, ...] = Field(default=("siteA", "siteB"), min_length=1)
    subjects: int = Field(default=24, ge=1, le=200)
    paired: bool = False
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _sites_differ(self) -> Self:
        if len(set(self.sites)) < len(self.sites):
            msg = f"sites are named once each, got {list(self.sites)}"
            raise ValueError(msg)
        return self


class Head(NamedTuple):
    """A synthetic subject: shares of fluid, grey and white matter (D, H, W) in [0, 1], and how far off its levels lie.

    Args:
        shares: what they leave is air.
        off: in mm.
    """

    shares: tuple[Volume, Volume, Volume]
    off: float

    def labels(self) -> npt.NDArray[np.uint8]:
        """Return the class of each voxel: the largest of air, fluid, grey and white matter, the first on a tie."""
        air = 1 - sum(self.shares)
        largest: npt.NDArray[np.uint8] = np.argmax(np.stack([air, *self.shares]), axis=0).astype(np.uint8)
        return largest


class SyntheticProtocols:
    """Synthetic subjects at sites with different MR protocols.

    Args:
        settings: which task, sites and subjects.
    """

    Settings = SyntheticProtocolsSettings

    name: ClassVar[str] = "synthetic_protocols"
    title: ClassVar[str] = "SYNTHETIC subjects at four sites: MR protocols calculated on the deformed MNI152 template"
    licence: ClassVar[str] = "BSD-3-Clause (package); MNI's permissive notice (template)"
    reference: ClassVar[Reference] = Reference(
        title="MRI simulation-based evaluation of image-processing and classification methods",
        authors=("Kwan", "Evans", "Pike"),
        year=1999,
        venue="IEEE Transactions on Medical Imaging",
    )
    unit: ClassVar[str] = "synthetic subject"
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="percentile")
    seen_as: ClassVar[tuple[str, ...]] = ("MNI152", "ICBM 2009a")

    def __init__(self, settings: SyntheticProtocolsSettings | None = None) -> None:
        self.settings = settings or SyntheticProtocolsSettings()

    @property
    def task(self) -> Task:
        """Tissue or level, as the settings say."""
        return TISSUE if self.settings.task == "tissue" else LEVEL

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report must carry; the first says that the subjects are synthetic."""
        who = (
            "Every site sees the same subjects, unmoved; a subject is one group."
            if self.settings.paired
            else "Every site has other subjects."
        )
        return (
            "SYNTHETIC data: every subject is ONE template (MNI152) deformed at random; nothing here says how a method "
            "does on real people or scanners.",
            "The change of protocol is calculated from tissue parameters at 1.5 T (BrainWeb's); sites, bias field, "
            "resolution and noise are ours. Intervals and p-values speak of such draws.",
            who,
        )

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch the template, make subjects and images once, and return a case for each image.

        Raises:
            DataError: the package cannot be reached, or its files are not the published ones.
        """
        return cohort_of(self, self._folder(progress), self.notes, self.seen_as)

    def validate(self, cohort: Cohort) -> None:
        """Check the template's files, cases, groups, hashes, labels and, of tissue, the shares of the classes.

        Raises:
            DataError: something differs; says what.
        """
        fetch(FILES["mni152"])
        folder = self._folder(None)
        check_cohort(self, cohort, folder)
        if self.settings.task == "tissue":
            check_shares(self, folder, dict.fromkeys(self.settings.sites, SHARES[self.settings.dims]), tolerance=0.02)

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        said, box = self.settings, BOXES[self.settings.dims]
        sites = len(said.sites)
        facts = {
            "synthetic": True,
            "cases": said.subjects * sites * _images(said),
            "groups": said.subjects * (1 if said.paired else sites),
            "domains": list(said.sites),
            "settings": said.model_dump(mode="json"),
            "image": {"channels": ["MR"], "shape": list(_shape(said)), "spacing_mm": box.spacing},
            "labels": "made from the anatomy, before any image",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }
        return card_of(self, dict(FILES["mni152"]), facts)

    def _folder(self, progress: OnProgress | None) -> Path:
        said = self.settings.model_dump(mode="json")
        sites = {name: SITES[name]._asdict() for name in self.settings.sites}
        physics = {"tissues": {name: tissue._asdict() for name, tissue in TISSUES.items()}, "vary": VARY}
        anatomy = {"amplitude": AMPLITUDE_MM, "smoothness": SMOOTHNESS_MM, "files": dict(FILES["mni152"])}
        places = {"levels": LEVELS, "jitter": JITTER_MM, "window": WINDOWS[self.settings.dims]}
        box = BOXES[self.settings.dims].model_dump(mode="json")
        made = {"version": _VERSION, **said, "sites": sites, **physics, **anatomy, **places, "box": box}
        return made_once(self.name, made, lambda folder: self._make(folder, progress))

    def _make(self, folder: Path, progress: OnProgress | None) -> list[Item]:
        box = BOXES[self.settings.dims]
        template = Anatomy(*maps_of("mni152", fetch(FILES["mni152"], progress), box))
        template = template._replace(t1=template.t1 / np.median(template.t1[template.white > 0.9]))
        items = []
        for site in self.settings.sites:
            for number in range(self.settings.subjects):
                who = f"{'' if self.settings.paired else site + '-'}{self.settings.seed}-{number:02d}"
                head = head_of(template, who, box.spacing)
                rng = np.random.default_rng(seed_for(self.name, "scan", who, site))
                image = acquire(head.shares, SITES[site], box.spacing, rng)
                items += [self._save(folder, site, who, part) for part in _parts(self.settings, image, head)]
        return items

    def _save(self, folder: Path, site: SiteName, who: str, part: _Part) -> Item:
        subject = who.removeprefix(site + "-")
        name = f"{site}-subject-{subject}{part.name}"
        facts: dict[str, Any] = {"id": name, "group": f"synthetic-subject-{who}", "domain": site}
        n = len(TISSUE.classes)
        if self.settings.task == "level":
            item = save_classed(folder, facts, part.image, LEVEL.classes.index(part.level))
        elif part.image.ndim == 2:
            item = save_pair(folder, facts, part.image, part.labels, n)
        else:
            item = save_volumes(folder, facts, (part.image, part.labels), BOXES[3].affine(), n)
        level = {"level": part.level} if part.level else {}
        return item.model_copy(update={"attributes": {"subject": subject, **level}})


class _Part(NamedTuple):
    """An image that is kept; its name's end, and its level ("" of a head)."""

    name: str
    level: str
    image: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]


def head_of(template: Anatomy, who: str, spacing: float) -> Head:
    """Return a synthetic subject; the same name gives the same one on the same grid.

    Args:
        template: on a grid of `spacing` mm, its T1's white matter at 1.
        who: names the subject.
        spacing: distance of elements in mm.
    """
    rng = np.random.default_rng(seed_for("synthetic_protocols", "anatomy", who))
    off = float(rng.uniform(-JITTER_MM, JITTER_MM))
    own = deform(template, AMPLITUDE_MM / spacing, SMOOTHNESS_MM / spacing, rng)
    fluid = np.clip(own.inside - own.grey - own.white, 0, 1)
    return Head((fluid.astype(np.float32), own.grey, own.white), off)


def _parts(settings: SyntheticProtocolsSettings, image: npt.NDArray[np.int16], head: Head) -> Iterator[_Part]:
    """Yield the head, its slices, or its windows."""
    box, labels = BOXES[settings.dims], head.labels()
    if _images(settings) == 1:
        yield _Part("", "", image, labels)
        return
    for number, (level, height) in enumerate(LEVELS.items()):
        middle = round((height + head.off - box.low[0]) / box.spacing)
        centre = middle, box.shape[1] // 2, box.shape[2] // 2
        size = (1, *box.shape[1:]) if settings.task == "tissue" else WINDOWS[settings.dims]
        at = tuple(slice(c - n // 2, c - n // 2 + n) for c, n in zip(centre, size, strict=True))
        found = image[at], labels[at]
        yield _Part(f"-level{number}", level, *((each[0] for each in found) if settings.dims == 2 else found))


def _images(settings: SyntheticProtocolsSettings) -> int:
    """Return how many images a subject gives."""
    return 1 if (settings.dims, settings.task) == (3, "tissue") else len(LEVELS)


def _shape(settings: SyntheticProtocolsSettings) -> tuple[int, ...]:
    whole = BOXES[settings.dims].shape if settings.task == "tissue" else WINDOWS[settings.dims]
    return whole[1:] if settings.dims == 2 else whole
