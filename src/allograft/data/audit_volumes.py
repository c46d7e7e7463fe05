"""Problems of volumes that are looked at together: orientation, spacing, slice thickness, scale of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from allograft.core.task import Kind
from allograft.data.audit_result import Problem, problem
from allograft.data.look import Look
from allograft.data.preprocess import Preprocess

__all__ = ["size_advice", "volume_problems"]

RATIO = 1.5
"""Largest over smallest spacing of an axis from which the same structure looks of another size (ours)."""

CT_LOW = -500
"""A CT has values below this (air is -1000 HU); most other volumes have none."""

SCALE = 20
"""A range of values this many times wider or narrower than the median is of another scale (ours)."""

AXES = {2: ("rows", "columns"), 3: ("feet-head", "back-front", "left-right")}


def size_advice(kind: Kind, preprocess: Preprocess | None) -> str:
    """Return what becomes of images of different sizes, as the end of a sentence.

    Args:
        kind: of the task.
        preprocess: of the study, None where there is none yet.
    """
    if preprocess is not None and preprocess.size is not None:
        size = "x".join(map(str, preprocess.size))
        return f"All are resized to {size} (preprocess.size), which may change their shape"
    if kind == "segmentation":
        return "Nothing is resized: training reads patches, and windows cover each image in prediction"
    return (
        "A network reads whole images of one size: set preprocess.size in the study; all are then resized to it, "
        "which may change their shape"
    )


def volume_problems(looks: Sequence[Look], preprocess: Preprocess | None) -> Iterator[Problem]:
    """Yield what differs between images that know their place in the world, and between their values.

    Args:
        looks: readable images.
        preprocess: of the study, None where there is none yet.
    """
    yield from _orientation(looks)
    known = [item for item in looks if item.spacing]
    if known and len(known) < len(looks):
        odd = tuple(item.id for item in looks if not item.spacing)
        text = f"{len(odd)} image(s) say no spacing in mm while others do. Structures may differ in scale."
        yield problem("warning", "unknown_spacing", text, odd)
    if len({len(item.spacing) for item in known}) == 1:
        yield from _spacing(known, preprocess)
        yield from _slices(known)
    yield from _scale(looks)


def _orientation(looks: Sequence[Look]) -> Iterator[Problem]:
    counts = Counter(item.orient for item in looks if item.orient)
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    some = ", ".join(f"{name}: {count}" for name, count in counts.most_common(6))
    text = (
        f"the files' axes run to different sides ({some}). All are turned to one orientation by their headers; look "
        "at one image of each kind, since a wrong header mirrors or turns the body."
    )
    odd = tuple(item.id for item in looks if item.orient and item.orient != usual)
    yield problem("warning", "mixed_orientation", text, odd)


def _spacing(known: Sequence[Look], preprocess: Preprocess | None) -> Iterator[Problem]:
    """Yield spacings that differ and that nothing in the study makes equal."""
    if preprocess is not None and (preprocess.spacing or preprocess.size):
        return
    values = np.asarray([item.spacing for item in known])
    low, high, middle = values.min(0), values.max(0), np.median(values, axis=0)
    wide = [axis for axis in range(values.shape[1]) if high[axis] > RATIO * low[axis]]
    if not wide:
        return
    names = AXES[values.shape[1]]
    said = "; ".join(f"{names[i]} {low[i]:.3g} to {high[i]:.3g} mm, {high[i] / low[i]:.3g} times" for i in wide)
    text = (
        f"spacing differs between images ({said}): a network sees the same structure at different sizes. "
        f"preprocess.spacing: median would resample all to {' x '.join(f'{x:.3g}' for x in middle)} mm."
    )
    far = np.maximum(values / middle, middle / values)[:, wide].max(1) > np.sqrt(RATIO)
    yield problem("warning", "mixed_spacing", text, tuple(x.id for x, is_far in zip(known, far, strict=True) if is_far))


def _slices(known: Sequence[Look]) -> Iterator[Problem]:
    """Yield thick slices that lie in different planes, or are of different thickness: no resampling adds detail."""
    thick = [item for item in known if len(item.spacing) == 3 and max(item.spacing) > RATIO * sorted(item.spacing)[1]]
    planes = Counter(int(np.argmax(item.spacing)) for item in thick)
    if len(planes) > 1:
        usual = planes.most_common(1)[0][0]
        said = ", ".join(f"{AXES[3][axis]}: {count}" for axis, count in planes.most_common())
        text = (
            f"thick slices are stacked along different directions ({said}): detail is lost along another axis in each."
        )
        odd = tuple(item.id for item in thick if int(np.argmax(item.spacing)) != usual)
        yield problem("warning", "mixed_planes", f"{text} Study them apart, or say so in the report.", odd)
    steps = np.asarray([max(item.spacing) for item in known if len(item.spacing) == 3])
    if thick and len(steps) and steps.max() > RATIO * steps.min():
        text = (
            f"slices are {steps.min():.3g} to {steps.max():.3g} mm apart ({steps.max() / steps.min():.3g} times). "
            "Resampling makes grids equal, not detail: look whether errors follow the thickness."
        )
        middle = float(np.median(steps))
        odd = tuple(x.id for x in known if not 1 / RATIO**0.5 < max(x.spacing) / middle < RATIO**0.5)
        yield problem("warning", "mixed_thickness", text, odd)


def _scale(looks: Sequence[Look]) -> Iterator[Problem]:
    """Yield images whose values are on another scale than those of the others."""
    whole = [item for item in looks if not item.constant]
    if len(whole) < 3:
        return
    deep = [item for item in whole if item.low <= CT_LOW]
    odd = tuple(item.id for item in whole if item.low >= 0)
    if odd and len(deep) > len(whole) / 2:
        text = (
            f"{len(odd)} image(s) have no value below 0 while most reach {CT_LOW} and less, as CT in Hounsfield units "
            "does. The rescale intercept was lost, or they are no CT: export again or leave out."
        )
        yield problem("warning", "mixed_scale", text, odd)
        return
    ranges = np.asarray([item.high - item.low for item in whole])
    ratio = ranges / np.median(ranges)
    odd = tuple(x.id for x, r in zip(whole, ratio, strict=True) if not 1 / SCALE < r < SCALE)
    if odd:
        text = (
            f"{len(odd)} image(s) have a range of values more than {SCALE} times wider or narrower than the others "
            f"(from {ranges.min():.3g} to {ranges.max():.3g}, median {np.median(ranges):.3g}): other units, or a "
            "lost scale. Export again, or standardise each image (preprocess.intensity)."
        )
        yield problem("warning", "mixed_scale", text, odd)
