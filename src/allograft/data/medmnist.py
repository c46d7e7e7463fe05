"""MedMNIST .npz files: images and labels in fixed splits, 28 to 224, 2-D and 3-D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef, Target
from allograft.data.cohort import Cohort
from allograft.data.io.array import ArrayHeader, array_headers, load_array
from allograft.data.labels import LabelSpec, infer_task, multilabel_task
from allograft.data.manifest import UNKNOWN_GROUPS

__all__ = ["SPLITS", "is_medmnist", "read_medmnist"]

SPLITS = ("train", "val", "test")
_ARRAYS = tuple(f"{split}_{what}" for split in SPLITS for what in ("images", "labels"))


def is_medmnist(headers: dict[str, ArrayHeader]) -> bool:
    """Tell whether an .npz file with these arrays has the layout."""
    return set(_ARRAYS) <= set(headers)


def read_medmnist(path: Path, spec: LabelSpec | None = None, *, name: str = "") -> Cohort:
    """Read a MedMNIST file without unpacking its images.

    Labels of several columns are yes/no (multilabel). Class names are the numbers, unless the spec
    gives `classes` in their order. Two classes are binary, 1 is positive.

    Raises:
        DataError: arrays are missing, of different lengths, or hold labels that are no classes.
    """
    spec = spec or LabelSpec()
    headers = array_headers(path)
    if not is_medmnist(headers):
        msg = f"{path}: expected the arrays {', '.join(_ARRAYS)}; the file holds {', '.join(headers) or 'none'}."
        raise DataError(msg)
    labels = {split: _labels(path, split, headers) for split in SPLITS}
    widths = {array.shape[1] for array in labels.values()}
    if len(widths) > 1:
        msg = f"{path}: the splits have labels of {sorted(widths)} columns, expected the same number. Use a whole file."
        raise DataError(msg)
    read = _multilabel if widths.pop() > 1 or spec.kind == "multilabel" else _single
    task, targets, notes = read(path, labels, spec)
    cases = tuple(
        Case(
            id=(case_id := f"{split}-{row:06d}"),
            image=(ImageRef(path, f"{split}_images", row),),
            targets={task.head: target},
            group=case_id,
            split=split,
        )
        for split in SPLITS
        for row, target in enumerate(targets[split])
    )
    return Cohort(
        name=name or path.stem,
        task=task,
        cases=cases,
        unit="image",
        notes=(*notes, UNKNOWN_GROUPS),
        seen_as=(path.stem.split("_")[0],),
    )


def _labels(path: Path, split: str, headers: dict[str, ArrayHeader]) -> npt.NDArray[Any]:
    """Return one split's labels as (N, columns), checked against its images."""
    labels = load_array(path, f"{split}_labels")
    images = headers[f"{split}_images"]
    if images.dtype.kind not in "uif" or len(images.shape) < 3:
        msg = f"{path}: {split}_images has type {images.dtype} and shape {images.shape}, expected a row per image."
        raise DataError(msg)
    if labels.dtype.kind not in "buif" or labels.ndim not in {1, 2} or len(labels) != images.shape[0]:
        msg = (
            f"{path}: {split}_labels of shape {labels.shape}, type {labels.dtype} do not fit "
            f"{images.shape[0]} images. Download the file again."
        )
        raise DataError(msg)
    return labels.reshape(len(labels), -1)


def _single(path: Path, labels: dict[str, npt.NDArray[Any]], spec: LabelSpec) -> Any:
    """Return task, targets by split, and notes for one label column."""
    if spec.kind == "regression":
        task, notes = infer_task(["0"], spec, str(path))
        return task, {split: [float(x) for x in array[:, 0]] for split, array in labels.items()}, notes
    values = np.concatenate([array[:, 0] for array in labels.values()]).astype(np.int64)
    count = len(spec.classes) or int(values.max()) + 1
    if values.min() < 0 or values.max() >= count:
        msg = f"{path}: labels run from {values.min()} to {values.max()}, expected 0 to {count - 1}."
        raise DataError(msg)
    names = spec.classes or tuple(str(i) for i in range(count))
    task, notes = infer_task(sorted({names[i] for i in values}), spec.model_copy(update={"classes": names}), str(path))
    index: list[Target] = [task.classes.index(name) for name in names]
    return task, {split: [index[int(x)] for x in array[:, 0]] for split, array in labels.items()}, notes


def _multilabel(path: Path, labels: dict[str, npt.NDArray[Any]], spec: LabelSpec) -> Any:
    """Return task, targets by split, and notes for several yes/no columns."""
    width = labels["train"].shape[1]
    names = spec.classes or tuple(str(i) for i in range(width))
    if len(names) != width or any(not np.isin(array, (0, 1)).all() for array in labels.values()):
        msg = f"{path}: expected {width} class names and labels of 0 and 1. Correct `classes` or the file."
        raise DataError(msg)
    task = multilabel_task(names, spec.model_copy(update={"classes": ()}), str(path))
    return task, {split: [tuple(map(int, row)) for row in array] for split, array in labels.items()}, ()
