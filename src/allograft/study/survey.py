"""Survey: what a data set looks like from a sample of its images, enough to propose a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from allograft.core.config import Config
from allograft.core.errors import DataError
from allograft.data.cohort import Cohort
from allograft.data.io.image import Image, read_channels
from allograft.data.laterality import sided_classes
from allograft.data.split import groups_by_class

__all__ = ["Survey", "survey"]

SAMPLE = 48
"""Images looked at, spread evenly over the cohort (ours); the audit looks at all."""


class Survey(Config):
    """What a proposal needs to know.

    Args:
        name: of the data set.
        cases, labelled, units: counts; `unit` says of what.
        kind: of the task.
        classes: groups by class; empty for regression.
        sided: classes that say a side of the body.
        fixed_split: which of train, val and test the data bring.
        dims: 2 or 3.
        size: median size, slowest axis first.
        sizes: different sizes in the sample.
        channels: channel counts in the sample, most frequent first.
        dtype: usual number type.
        full_range: what the files' format can hold, None where that says nothing.
        units: of the values ("HU").
        modality: a guess in words.
        known_groups: whether the data say which images share a patient.
        notes: what the user should know.
    """

    name: str
    cases: int
    labelled: int
    units: int
    unit: str
    kind: str
    classes: dict[str, int]
    sided: tuple[str, ...] = ()
    fixed_split: tuple[str, ...]
    dims: int
    size: tuple[int, ...]
    sizes: int
    channels: tuple[int, ...]
    dtype: str
    full_range: tuple[float, float] | None
    units_of_values: str
    modality: str
    known_groups: bool
    notes: tuple[str, ...]


def survey(cohort: Cohort) -> Survey:
    """Look at a sample of the images and count the cases.

    Raises:
        DataError: no image of the sample can be read, or 2-D and 3-D images are mixed.
    """
    images, failed = _sample(cohort)
    if not images:
        msg = f"{cohort.name}: none of {len(failed)} images can be read. First: {failed[0]}"
        raise DataError(msg)
    dims = Counter(image.dims for image in images)
    if len(dims) > 1:
        msg = f"{cohort.name}: 2-D and 3-D images are mixed ({dict(dims)}). Make a data set of each."
        raise DataError(msg)
    shapes = np.array([image.geometry.shape for image in images])
    ranges = {image.full_range for image in images}
    notes = [*cohort.notes]
    if failed:
        notes.append(
            f"{len(failed)} of {len(images) + len(failed)} images looked at cannot be read; run allograft audit"
        )
    return Survey(
        name=cohort.name,
        cases=len(cohort),
        labelled=len(cohort.labelled()),
        units=len(cohort.groups),
        unit=cohort.unit,
        kind=cohort.task.kind,
        classes=groups_by_class(cohort.labelled()),
        sided=sided_classes(cohort.task.classes),
        fixed_split=tuple(part for part in ("train", "val", "test") if any(c.split == part for c in cohort)),
        dims=images[0].dims,
        size=tuple(int(n) for n in np.median(shapes, axis=0)),
        sizes=len({tuple(shape) for shape in shapes.tolist()}),
        channels=tuple(count for count, _ in Counter(len(image.array) for image in images).most_common()),
        dtype=Counter(str(image.array.dtype) for image in images).most_common(1)[0][0],
        full_range=ranges.pop() if len(ranges) == 1 else None,
        units_of_values=images[0].units,
        modality=_modality(images),
        known_groups=cohort.unit != "image",
        notes=tuple(notes),
    )


def _sample(cohort: Cohort) -> tuple[list[Image], list[str]]:
    """Return up to `SAMPLE` decoded images, evenly spread, and the messages of unreadable ones."""
    places = np.unique(np.linspace(0, len(cohort) - 1, min(SAMPLE, len(cohort))).astype(int))
    images, failed = [], []
    for place in places:
        try:
            images.append(read_channels(cohort.cases[place].image))
        except DataError as error:
            failed.append(str(error))
    return images, failed


def _modality(images: Sequence[Image]) -> str:
    """Guess from units, colour and geometry; a guess that the study file shows and nothing relies on."""
    first = images[0]
    if first.units == "HU":
        return "CT"
    if any(len(image.array) == 3 and image.dims == 2 for image in images):
        return "colour pictures (histology, skin, retina, endoscopy)"
    if first.dims == 3:
        return "volumes without a unit (MR, or exported CT)"
    if first.full_range is not None:
        return "grey pictures (X-ray, ultrasound, or exported slices)"
    return "grey images without a fixed range (MR slices, maps)"
