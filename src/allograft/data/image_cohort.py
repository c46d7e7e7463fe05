"""Image cohort: images of any place as cases without labels, for training that reads none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.bids import is_bids
from allograft.data.case import Case, ImageRef
from allograft.data.class_folder import FolderSpec, group_in, image_files
from allograft.data.cohort import Cohort
from allograft.data.decathlon import is_decathlon
from allograft.data.io.format import ENDINGS, ending_of
from allograft.data.manifest import UNKNOWN_GROUPS, ManifestSpec, read_cases
from allograft.data.mask_folder import is_mask_folder
from allograft.data.nnunet import is_nnunet
from allograft.data.sniff import open_data

__all__ = ["NOTHING", "open_images"]

NOTHING = Task(kind="restoration", classes=("image",), head="images")
"""The task of cases of which nothing is to be predicted."""

FEWEST = 3
"""Folders from which on a folder is taken for a patient: fewer could not be divided."""


def open_images(path: Path, *, manifest: ManifestSpec | None = None, folder: FolderSpec | None = None) -> Cohort:
    """Return the images of a table, of a folder at any depth, or of a layout with labels or masks, without these.

    Of a folder each image file is a case, and each folder below it that is a DICOM series. Its patient is what the
    pattern finds in its path below the folder, the PatientID of DICOM files, or else the folder that it lies in, where
    images lie in at least 3.

    Args:
        path: file or folder.
        manifest: the columns of a table.
        folder: pattern of the patient, unit and name.

    Raises:
        ConfigError: the settings do not fit the data.
        DataError: there are no images, or a table is wrong or names a file that is not there.
    """
    if not path.exists():
        msg = f"{path}: no such file or folder. Check the path."
        raise DataError(msg)
    if path.is_file() and path.suffix.lower() in {".csv", ".tsv"}:
        return read_cases(path, NOTHING, manifest)
    masks = path.is_dir() and any(fits(path) for fits in (is_nnunet, is_decathlon, is_bids, is_mask_folder))
    if path.is_file() or masks:
        found = open_data(path, manifest=manifest, folder=folder, check_files=False)  # masks may be missing
        return replace(found.without_targets(), task=NOTHING, also=())
    return _in_folder(path, folder or FolderSpec())


def _in_folder(root: Path, spec: FolderSpec) -> Cohort:
    left_out: Counter[str] = Counter()
    files = image_files(root, left_out)
    if not files:
        msg = f"{root}: no images in this folder or below. Known endings: {', '.join(ENDINGS)}, and DICOM series."
        raise DataError(msg)
    names = [file.relative_to(root).as_posix() for file in files]
    groups, unit, notes = _groups(files, names, spec)
    if left_out:
        kinds = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in left_out.most_common(5))
        notes = (*notes, f"files that are no images were left out: {kinds}")
    cases = tuple(
        Case(id=name, image=(ImageRef(file),), group=group)
        for file, name, group in zip(files, names, groups, strict=True)
    )
    return Cohort(spec.name or root.resolve().name, NOTHING, cases, unit=unit, notes=notes)


def _groups(files: list[Path], names: list[str], spec: FolderSpec) -> tuple[list[str], str, tuple[str, ...]]:
    """Return each image's patient, what a patient is here, and notes."""
    if spec.group_pattern is not None:
        return [group_in(name, spec.group_pattern) for name in names], spec.unit, ()
    dicom = [_patient_id(file) for file in files]
    if any(dicom):
        return [found or name for found, name in zip(dicom, names, strict=True)], spec.unit, ()
    places = [name.rpartition("/")[0] for name in names]
    if len({place for place in places if place}) < FEWEST:
        return names, "image", (UNKNOWN_GROUPS,)
    note = "patients are unknown: the folder that images lie in counts as one; name a pattern where it is not"
    return [place or name for place, name in zip(places, names, strict=True)], "folder", (note,)


def _patient_id(file: Path) -> str:
    """Return the PatientID of DICOM, "" for other files and for one that cannot be read: reading it will say why."""
    if not file.is_dir() and ENDINGS.get(ending_of(file), "dicom") != "dicom":
        return ""
    from allograft.data.io.dicom import dicom_group

    try:
        return dicom_group(file)
    except DataError:
        return ""
