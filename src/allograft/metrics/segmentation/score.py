"""Scores of a case: every metric of every class or region, with what was there and what was missed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from allograft.core.errors import ConfigError, DataError
from allograft.metrics.segmentation.mask_pair import MaskPair, Outcome
from allograft.metrics.segmentation.metric import MaskMetric

__all__ = ["ClassScore", "Classes", "class_pairs", "score_case"]

Labels = npt.NDArray[np.integer]
Box = tuple[slice, ...]

Classes = Mapping[str, Sequence[int]]
"""Label values by class or region; regions may overlap: {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}."""


class ClassScore(NamedTuple):
    """One class or region of one case.

    Args:
        name: of the class or region.
        outcome: "both", "missed" (nothing predicted), "false_alarm" (nothing true) or "absent" (neither).
        predicted_voxels: elements that are predicted.
        truth_voxels: elements that are true.
        image_voxels: elements of the image.
        values: by metric; NaN only where the outcome is "absent" and the metric skips it.
    """

    name: str
    outcome: Outcome
    predicted_voxels: int
    truth_voxels: int
    image_voxels: int
    values: Mapping[str, float]


def score_case(
    prediction_labels: Labels,
    truth_labels: Labels,
    classes: Classes,
    spacing_mm: Sequence[float],
    metrics: Sequence[MaskMetric],
) -> tuple[ClassScore, ...]:
    """Return one row per class, in the order of `classes`.

    Args:
        prediction_labels: (*S) integers, 2-D or 3-D.
        truth_labels: (*S) integers on the same grid.
        classes: label values by class or region.
        spacing_mm: distance between neighbours along each axis, > 0.
        metrics: none for the counts alone.

    Raises:
        ConfigError: a class has no label values, or two metrics have one name.
        DataError: the labels are not integers, differ in shape, or the spacing does not fit them.

    >>> from allograft.metrics.segmentation.dice import Dice
    >>> truth = np.zeros((4, 4), int)
    >>> truth[1:3, 1:3] = 1
    >>> [row] = score_case(np.zeros((4, 4), int), truth, {"lesion": (1,)}, (1, 1), [Dice()])
    >>> row.outcome, row.values["dice"]
    ('missed', 0.0)
    """
    names = [metric.name for metric in metrics]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"metrics: {twice} given twice; a row has one value by that name. Score the case once for each."
        raise ConfigError(msg)
    cut = class_pairs(prediction_labels, truth_labels, classes, spacing_mm)
    return tuple(_row(name, pair, metrics) for name, pair in cut.items())


def class_pairs(
    prediction_labels: Labels, truth_labels: Labels, classes: Classes, spacing_mm: Sequence[float]
) -> dict[str, MaskPair]:
    """Return the masks of each class, cut to the box that holds both.

    Args:
        prediction_labels: (*S) integers, 2-D or 3-D.
        truth_labels: (*S) integers on the same grid.
        classes: label values by class or region.
        spacing_mm: distance between neighbours along each axis, > 0.

    Raises:
        ConfigError: a class has no label values.
        DataError: the labels are not integers, differ in shape, or the spacing does not fit them.
    """
    nameless = [name for name, values in classes.items() if not values]
    if nameless or not classes:
        msg = f"classes: expected label values for at least one class, got none for {nameless or 'anything'}."
        raise ConfigError(msg)
    prediction, truth = _as_labels(prediction_labels), _as_labels(truth_labels)
    if prediction.shape != truth.shape or prediction.ndim not in {2, 3}:
        msg = (
            f"labels: expected two of one 2-D or 3-D shape, got prediction {prediction.shape} and truth "
            f"{truth.shape}. Bring the prediction back to the grid of the truth."
        )
        raise DataError(msg)
    boxes = _boxes(prediction, classes), _boxes(truth, classes)
    pairs = {}
    for name, values in classes.items():
        box = _around([each[value] for each in boxes for value in values if value in each], truth.ndim)
        masks = _is_any(prediction[box], values), _is_any(truth[box], values)
        offset = tuple(side.start for side in box)
        pairs[name] = MaskPair(*masks, spacing_mm, shape=truth.shape, offset=offset)
    return pairs


def _row(name: str, pair: MaskPair, metrics: Sequence[MaskMetric]) -> ClassScore:
    values = {metric.name: metric.of(pair) for metric in metrics}
    return ClassScore(name, pair.outcome, pair.predicted_voxels, pair.truth_voxels, math.prod(pair.shape), values)


def _as_labels(labels: Labels) -> Labels:
    labels = np.asarray(labels)
    if labels.dtype == np.bool_:
        return labels.view(np.uint8)
    if not np.issubdtype(labels.dtype, np.integer):
        msg = f"labels: expected integers, got {labels.dtype}. Take the most probable class, or round on purpose."
        raise DataError(msg)
    return labels


def _boxes(labels: Labels, classes: Classes) -> dict[int, Box]:
    """Return the box around each label value that occurs; the whole image for 0 and below."""
    wanted = {int(value) for values in classes.values() for value in values}
    found = ndimage.find_objects(labels, max_label=max(0, *wanted)) if max(wanted) > 0 else []
    boxes = {value: box for value, box in enumerate(found, start=1) if box is not None}
    whole = tuple(slice(0, n) for n in labels.shape)
    return {**boxes, **{value: whole for value in wanted if value <= 0}}


def _around(boxes: Sequence[Box], dims: int) -> Box:
    """Return the smallest box that holds all boxes; an empty one for none."""
    if not boxes:
        return (slice(0, 0),) * dims
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))


def _is_any(labels: Labels, values: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return where labels are any of a few values."""
    mask: npt.NDArray[np.bool_] = labels == values[0]
    for value in values[1:]:
        mask |= labels == value
    return mask
