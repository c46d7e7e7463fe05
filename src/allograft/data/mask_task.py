"""From masks to a segmentation task: which classes there are, and what each value or name in a file means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from allograft.core.config import config_error
from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import ImageRef
from allograft.data.io.format import format_of
from allograft.data.io.mask import mask_files, mask_values
from allograft.data.labels import LabelSpec

__all__ = ["BACKGROUND", "LOOK_AT", "MaskTask", "mask_task", "named_task"]

BACKGROUND = "background"
LOOK_AT = 50
"""Masks that are looked at to learn the values; a value that only others hold is refused when they are read."""

MOST_CLASSES = 400


class MaskTask(NamedTuple):
    """A task and what masks mean for it.

    Attributes:
        task: the segmentation.
        classes: for `ImageRef.classes`.
        notes: what was inferred.
    """

    task: Task
    classes: tuple[tuple[str, int], ...]
    notes: tuple[str, ...] = ()

    def ref(self, path: Path) -> ImageRef:
        """Return the reference of a mask with its meaning."""
        return ImageRef(path, classes=self.classes)


def named_task(values: Mapping[str, int], spec: LabelSpec, where: str, notes: tuple[str, ...] = ()) -> MaskTask:
    """Return the task of a layout that names its labels.

    Args:
        values: the value of each label name; the lowest is background.
        spec: metric, and class names that take the place of the layout's.
        where: for messages.
        notes: of the layout.

    Raises:
        ConfigError: the spec names another number of classes.
    """
    ordered = sorted(values, key=values.__getitem__)
    names = tuple(spec.classes) or tuple(ordered)
    if len(names) != len(ordered):
        msg = (
            f"{where}: names {len(ordered)} labels ({', '.join(ordered)}), the settings {len(names)}. Make them equal."
        )
        raise ConfigError(msg)
    classes = tuple((str(values[name]), index) for index, name in enumerate(ordered))
    return MaskTask(_task(names, spec, where), classes, notes)


def mask_task(masks: Iterable[ImageRef], spec: LabelSpec, where: str) -> MaskTask:
    """Return the task of masks that nothing names, by looking at them.

    Values 0, 1, 2, ... are classes; others (0 and 255) are classes in ascending order, which a note
    says. DICOM SEG and RTSTRUCT name their classes; so do folders with a file for each class.

    Raises:
        DataError: no mask can be looked at, or its values are no labels.
        ConfigError: the settings do not fit the values.
    """
    there = [ref for ref in dict.fromkeys(masks) if ref.path.exists()]
    if not there:
        msg = f"{where}: none of the masks exists. Check the paths, or the folder that relative paths start from."
        raise DataError(msg)
    names = _names([ref.path for ref in there])
    if names:
        wanted = spec.classes or (BACKGROUND, *names)
        return MaskTask(_task(wanted, spec, where), tuple((name, i) for i, name in enumerate(wanted)))
    values = set(spec.mask_values)
    step = max(1, -(-len(there) // LOOK_AT))
    for ref in there[::step] if not values else []:
        values.update(mask_values(ref))
        if len(values) > MOST_CLASSES:
            msg = f"{ref}: holds more than {MOST_CLASSES} different values, so it is no mask of labels. Check it."
            raise DataError(msg)
    return _of_values(sorted(values if spec.mask_values else values | {0}), spec, where)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return names of segments, structures or mask files in order of appearance; none for label files."""
    first = paths[0]
    found: dict[str, None] = {}
    if first.is_dir() and mask_files(first):
        for path in paths:
            found.update(dict.fromkeys(mask_files(path)))
    elif not first.is_dir() and format_of(first) == "dicom":
        from allograft.data.io.dicom_seg import is_seg, segments_of
        from allograft.data.io.rtstruct import is_rtstruct, structures_of

        for path in paths:
            if is_seg(path):
                found.update(dict.fromkeys(item.label for item in segments_of(path)))
            elif is_rtstruct(path):
                found.update(dict.fromkeys(structures_of(path)))
    return list(found)


def _of_values(values: list[int], spec: LabelSpec, where: str) -> MaskTask:
    ordered = list(spec.mask_values) or values
    if len(ordered) < 2:
        msg = f"{where}: the masks hold only the value {ordered[0]}. A segmentation needs a class beside background."
        raise DataError(msg)
    if spec.classes and len(spec.classes) < len(ordered):
        msg = (
            f"{where}: the masks hold {len(ordered)} values ({', '.join(map(str, ordered[:8]))}), the settings name "
            f"{len(spec.classes)} classes. Name them all, or set mask_values to the values of the classes."
        )
        raise ConfigError(msg)
    gaps = ordered != list(range(len(ordered)))
    if spec.classes and not gaps:  # a class may occur nowhere
        ordered = list(range(len(spec.classes)))
    if len(spec.classes) not in {0, len(ordered)}:
        msg = (
            f"{where}: {len(spec.classes)} classes and the values {ordered} do not fit. Set mask_values, one for each."
        )
        raise ConfigError(msg)
    usual = ("foreground",) if len(ordered) == 2 else tuple(f"label {value}" for value in ordered[1:])
    names = spec.classes or (BACKGROUND, *usual)
    notes: tuple[str, ...] = ()
    if gaps and not spec.mask_values:
        pairs = ", ".join(f"{value} = {name}" for value, name in zip(ordered, names, strict=True))
        notes = (f"the masks' values are read as classes in ascending order ({pairs}); set mask_values to choose",)
    return MaskTask(_task(names, spec, where), tuple((str(v), i) for i, v in enumerate(ordered)), notes)


def _task(names: Sequence[str], spec: LabelSpec, where: str) -> Task:
    if spec.kind not in {None, "segmentation"}:
        msg = f"{where}: the labels are masks, so the task is a segmentation, not {spec.kind}. Remove kind."
        raise ConfigError(msg)
    try:
        return Task(kind="segmentation", classes=tuple(names), metric=spec.metric)
    except ValidationError as error:
        raise config_error(error, where=where) from error
