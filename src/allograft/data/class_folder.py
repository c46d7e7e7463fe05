"""Folders named for classes: class/image, or train/class/image with fixed splits."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from allograft.core.errors import ConfigError, DataError
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.format import ENDINGS, ending_of, is_image_name
from allograft.data.labels import LabelSpec, infer_task, target_of
from allograft.data.manifest import UNKNOWN_GROUPS, split_name

__all__ = ["FolderSpec", "group_in", "image_files", "is_series", "read_class_folder"]

_UNLABELLED = frozenset({"unlabelled", "unlabeled", "unlabelled_pool"})


class FolderSpec(LabelSpec):
    r"""How to read folders of classes.

    Args:
        group_pattern: regular expression searched in the image's path below its class folder; its
            group "group", or else its first group, names the patient. Example: r"^(P\d+)_".
        unit: what a group is.
        name: name of the data set; by default the folder's.
    """

    group_pattern: str | None = None
    unit: str = "patient"
    name: str = ""


class _Found(NamedTuple):
    """An image, or the folder of a DICOM series, with what its place says."""

    path: Path
    label: str
    split: str


def read_class_folder(path: Path, spec: FolderSpec | None = None) -> Cohort:
    """Read a folder of class folders.

    A folder below a class that holds several DICOM files is one series, thus one case. DICOM files
    are grouped by PatientID where no pattern is given. Images in a folder "unlabelled" have no label.

    Raises:
        DataError: fewer than two classes, a class without images, or a name without a group.
        ConfigError: the pattern is no regular expression or has no group.
    """
    spec = spec or FolderSpec()
    pattern = _compiled(spec.group_pattern)
    found, left_out = _scan(path)
    labels = [None if item.label.lower() in _UNLABELLED else item.label for item in found]
    task, notes = infer_task(labels, spec, str(path))
    groups = [_group(item, path, pattern) for item in found]
    cases = tuple(
        Case(
            id=(name := item.path.relative_to(path).as_posix()),
            image=(ImageRef(item.path),),
            targets=target_of(task, label, str(item.path)),
            group=group or name,
            split=item.split,
        )
        for item, label, group in zip(found, labels, groups, strict=True)
    )
    known = any(groups)
    if not known:
        notes = (*notes, UNKNOWN_GROUPS)
    if left_out:
        kinds = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in left_out.most_common(5))
        notes = (*notes, f"files that are no images were left out: {kinds}")
    unit = spec.unit if known else "image"
    return Cohort(name=spec.name or path.resolve().name, task=task, cases=cases, unit=unit, notes=notes)


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        msg = f"group_pattern {pattern!r}: not a regular expression ({error})."
        raise ConfigError(msg) from error
    if compiled.groups == 0:
        msg = f"group_pattern {pattern!r}: has no group. Put brackets around the patient: r'^(P\\d+)_'."
        raise ConfigError(msg)
    return compiled


def group_in(name: str, group_pattern: str | None) -> str:
    """Return the patient that a case's name holds, or the name itself where there is no pattern.

    Raises:
        ConfigError: the pattern is no regular expression or has no group.
        DataError: it finds nothing in the name.
    """
    pattern = _compiled(group_pattern)
    if pattern is None:
        return name
    return _search(pattern, name, name)


def _search(pattern: re.Pattern[str], text: str, where: object) -> str:
    match = pattern.search(text)
    group = match and (match.group("group") if "group" in pattern.groupindex else match.group(1))
    if not group:
        msg = f"{where}: group_pattern {pattern.pattern!r} finds no patient in {text!r}. Correct it."
        raise DataError(msg)
    return str(group)


def _scan(root: Path) -> tuple[list[_Found], Counter[str]]:
    """Return all images in order of their paths, and the endings of the files left out."""
    folders = _folders(root)
    splits = {folder: _as_split(folder.name) for folder in folders}
    layout: list[tuple[str, list[Path]]]
    if folders and all(splits.values()):
        layout = [(splits[folder], _folders(folder)) for folder in folders]
    else:
        layout = [("", folders)]
    found: list[_Found] = []
    left_out: Counter[str] = Counter()
    for split, classes in layout:
        for folder in classes:
            images = image_files(folder, left_out)
            if not images:
                msg = f"{folder}: no images in this class. Known endings: {', '.join(ENDINGS)}. Remove or fill it."
                raise DataError(msg)
            found += [_Found(image, folder.name, split) for image in images]
    if not found:
        msg = f"{root}: no class folders with images. Expected class/image or train/class/image."
        raise DataError(msg)
    return found, left_out


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def _as_split(name: str) -> str:
    try:
        return split_name(name, name)
    except DataError:
        return ""


def image_files(folder: Path, left_out: Counter[str]) -> list[Path]:
    """Return images in `folder` and below; a folder below with several DICOM files is one of them."""
    images: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")) or path.name in {"Thumbs.db", "desktop.ini", "DICOMDIR"}:
            continue
        if path.is_dir():
            images += [path] if is_series(path) else image_files(path, left_out)
        elif is_image_name(path) or (not path.suffix and _is_dicom(path)):
            images.append(path)
        else:
            left_out[ending_of(path)] += 1
    return images


def is_series(folder: Path) -> bool:
    """Tell whether a folder holds several DICOM files and nothing that another reader takes."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    others = [path for path in files if ENDINGS.get(ending_of(path), "dicom") != "dicom"]
    return not others and sum(_is_dicom(path) for path in files) > 1


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _group(item: _Found, root: Path, pattern: re.Pattern[str] | None) -> str:
    """Return the patient by pattern or DICOM header, "" where neither says it."""
    inside = Path(*item.path.relative_to(root).parts[2 if item.split else 1 :]).as_posix()
    if pattern is not None:
        return _search(pattern, inside, item.path)
    if item.path.is_dir() or ENDINGS.get(ending_of(item.path), "dicom") == "dicom":
        from allograft.data.io.dicom import dicom_group

        return dicom_group(item.path)
    return ""
