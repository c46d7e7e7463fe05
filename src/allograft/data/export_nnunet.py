"""Export a segmentation cohort as nnU-Net raw, so that nnU-Net can be trained on the same cases."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.atomic import folder_aside, write_text
from allograft.core.errors import ConfigError, DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.format import ending_of
from allograft.data.io.image import Image, read_channels
from allograft.data.io.mask import read_mask
from allograft.data.io.nifti_write import label_type, save_nifti

__all__ = ["export_nnunet"]

ENDING = ".nii.gz"


def export_nnunet(
    cohort: Cohort,
    folder: Path,
    *,
    channel_names: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write imagesTr, labelsTr, imagesTs, labelsTs and dataset.json; return the folder.

    Labels are 0, 1, 2, ... in the order of the task's classes, then "ignore" where masks have it.
    Every channel is one file; image and mask lie on the image's grid, with axes that run to right,
    anterior, superior. Cases of the test split and cases without a mask go to imagesTs. cases.json keeps
    each file's case, group and split: nnU-Net's own folds know no patients, so fix them
    (splits_final.json) where one has several cases.

    Args:
        cohort: of a segmentation.
        folder: new; named as nnU-Net wants it, Dataset###_Name.
        channel_names: of the channels ("CT" makes nnU-Net normalise by Hounsfield units).
        progress: called with (done, all).

    Raises:
        ConfigError: not a segmentation, the folder exists or is not named so, or the channels do not fit.
        DataError: a case cannot be read, or its mask lies on another grid.
    """
    _require_fit(cohort, folder)
    names = _file_names(cohort)
    channels: tuple[str, ...] = ()
    training = 0
    with folder_aside(folder) as aside:
        for done, case in enumerate(cohort, start=1):
            image = _read(case)
            channels = channels or _channels(image, channel_names, case)
            if len(image.array) != len(channels):
                msg = f"case {case.id!r}: has {len(image.array)} channels, the cases before it {len(channels)}."
                raise DataError(msg)
            training += _write_case(aside, names[case.id], case, image, cohort)
            if progress is not None:
                progress(done, len(cohort))
        write_text(aside / "dataset.json", json.dumps(_description(cohort, channels, training), indent=2) + "\n")
        rows = {names[c.id]: {"id": c.id, "group": c.group, "split": c.split, "domain": c.domain} for c in cohort}
        write_text(aside / "cases.json", json.dumps(rows, indent=2) + "\n")
    return folder


def _require_fit(cohort: Cohort, folder: Path) -> None:
    if cohort.task.kind != "segmentation":
        msg = f"cohort {cohort.name}: nnU-Net takes segmentations, this is {cohort.task.kind}."
        raise ConfigError(msg)
    if folder.exists():
        msg = f"{folder}: exists already and is not overwritten. Choose another folder."
        raise ConfigError(msg)
    if not re.fullmatch(r"Dataset\d{3}_\w+", folder.name):
        msg = f"{folder}: nnU-Net finds data sets by the name Dataset###_Name, for example Dataset501_{cohort.name}."
        raise ConfigError(msg)
    if not any(case.split != "test" and cohort.task.head in case.targets for case in cohort):
        msg = f"cohort {cohort.name}: no training case has a mask, so nnU-Net has nothing to learn from."
        raise DataError(msg)


def _file_names(cohort: Cohort) -> Mapping[str, str]:
    """Return a name for each case that is a file name, and is no other's."""
    out: dict[str, str] = {}
    used: set[str] = set()
    for case in cohort:
        plain = re.sub(r"[^A-Za-z0-9.-]+", "_", case.id.removesuffix(ending_of(Path(case.id)))).strip("_.")
        name, number = plain or "case", 2
        while name.casefold() in used:
            name, number = f"{plain}-{number}", number + 1
        used.add(name.casefold())
        out[case.id] = name
    return out


def _read(case: Case) -> Image:
    try:
        return read_channels(case.image)
    except DataError as error:
        msg = f"case {case.id!r}: {error}"
        raise DataError(msg) from error


def _channels(image: Image, given: tuple[str, ...], case: Case) -> tuple[str, ...]:
    if given and len(given) != len(image.array):
        msg = (
            f"channel_names has {len(given)} names, case {case.id!r} has {len(image.array)} channels. Make them equal."
        )
        raise ConfigError(msg)
    usual = ("CT",) if image.units == "HU" else tuple(name or f"channel{i}" for i, name in enumerate(image.channels))
    return given or usual


def _write_case(root: Path, name: str, case: Case, image: Image, cohort: Cohort) -> bool:
    """Write one case; return whether it is for training."""
    target = case.targets.get(cohort.task.head)
    training = case.split != "test" and target is not None
    suffix = "Tr" if training else "Ts"
    affine = _affine(image)
    for channel, array in enumerate(image.array):
        values = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(_wide(array))
        save_nifti(root / f"images{suffix}" / f"{name}_{channel:04d}{ENDING}", _on_file(values), affine)
    if isinstance(target, ImageRef):
        try:
            mask = read_mask(target, onto=case.image[0], dims=image.dims)
        except DataError as error:
            msg = f"case {case.id!r}: {error}"
            raise DataError(msg) from error
        highest = len(cohort.task.classes) - 1 + _ignores(cohort)
        labels = np.where(mask.array[0] < 0, highest, mask.array[0]).astype(label_type(highest))
        save_nifti(root / f"labels{suffix}" / f"{name}{ENDING}", _on_file(labels), affine)
    return training


def _wide(array: npt.NDArray[Any]) -> type[np.int16] | type[np.float32]:
    """Return a type that every NIfTI reader takes and that holds the values."""
    low, high = int(array.min()), int(array.max())
    return np.int16 if low >= -(2**15) and high < 2**15 else np.float32


def _on_file(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values with the axes that `_affine` speaks of: a volume's canonical ones reversed (x, y, z)."""
    return array.T if array.ndim == 3 else array.T[..., None]


def _affine(image: Image) -> npt.NDArray[np.float64]:
    """Return the map from (x, y, z) to world: right, anterior, superior; pictures with a slice of 1."""
    if image.dims == 2:
        rows, columns = image.geometry.spacing
        return np.diag([columns, rows, 1.0, 1.0])
    return image.geometry.affine()[:, [2, 1, 0, 3]]


def _description(cohort: Cohort, channels: tuple[str, ...], training: int) -> dict[str, object]:
    return {
        "name": cohort.name,
        "channel_names": {str(i): name for i, name in enumerate(channels)},
        "labels": {name: index for index, name in enumerate((*_labels(cohort), *["ignore"] * _ignores(cohort)))},
        "numTraining": training,
        "file_ending": ENDING,
    }


def _ignores(cohort: Cohort) -> bool:
    """Tell whether masks have ignored elements, for which nnU-Net wants the label after the last class."""
    targets = [case.targets.get(cohort.task.head) for case in cohort]
    return any(index < 0 for ref in targets if isinstance(ref, ImageRef) for _, index in ref.classes)


def _labels(cohort: Cohort) -> tuple[str, ...]:
    """Return class names; nnU-Net demands that the first is called background."""
    return ("background", *cohort.task.classes[1:])
