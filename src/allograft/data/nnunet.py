"""nnU-Net raw: dataset.json, imagesTr/CASE_0000.nii.gz for each channel, labelsTr/CASE.nii.gz."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.class_folder import FolderSpec, group_in
from allograft.data.cohort import Cohort
from allograft.data.dataset_json import in_order, inside, label_values, peek, read_dataset_json, require_file
from allograft.data.manifest import UNKNOWN_GROUPS
from allograft.data.mask_task import MaskTask, named_task

__all__ = ["is_nnunet", "read_nnunet"]

_FOLDERS = (("Tr", ""), ("Ts", "test"))


class _Found(NamedTuple):
    """A case: its name, channel files, mask (None where there is none) and fixed split."""

    name: str
    images: tuple[Path, ...]
    mask: Path | None
    split: str


def is_nnunet(folder: Path) -> bool:
    """Tell whether a folder's dataset.json is nnU-Net's (version 2), or damaged beside its folders."""
    path = folder / "dataset.json"
    data = peek(path)
    return "channel_names" in data or (not data and path.is_file() and (folder / "imagesTr").is_dir())


def read_nnunet(folder: Path, spec: FolderSpec | None = None, *, check_files: bool = True) -> Cohort:
    """Read a raw data set of nnU-Net.

    Cases in imagesTs are the test split; they may have no masks. The patient is found in the case's
    name by `spec.group_pattern`.

    An ignore label becomes -1 in masks.

    Raises:
        DataError: dataset.json is wrong; a channel or a mask is missing; the number of training cases
            is not the one stated.
    """
    spec = spec or FolderSpec()
    where = folder / "dataset.json"
    data = read_dataset_json(where)
    values, notes = label_values({n: v for n, v in data["labels"].items() if not _is_ignore(n)}, str(where))
    meaning = _with_ignored(named_task(values, spec, str(where), notes), data["labels"], str(where))
    channels = len(data.get("channel_names") or {})
    if channels == 0:
        msg = f'{where}: "channel_names" is empty. Name the channels: {{"0": "CT"}}.'
        raise DataError(msg)
    found = list(_listed(folder, data) if data.get("dataset") else _files(folder, data, channels))
    training = sum(item.split == "" for item in found)
    if training != int(data.get("numTraining", training)):
        msg = f"{where}: says {data['numTraining']} training cases, the folder holds {training}. Correct one."
        raise DataError(msg)
    cases = tuple(_case(item, meaning, spec, check=check_files) for item in found)
    extra = () if spec.group_pattern else (UNKNOWN_GROUPS,)
    return Cohort(
        name=spec.name or str(data.get("name") or folder.resolve().name),
        task=meaning.task,
        cases=cases,
        unit=spec.unit if spec.group_pattern else "image",
        notes=(*meaning.notes, *extra),
        channels=in_order(data["channel_names"]),
    )


def _is_ignore(name: str) -> bool:
    return name.casefold() == "ignore"


def _with_ignored(meaning: MaskTask, labels: Mapping[str, Any], where: str) -> MaskTask:
    """Return the meaning with nnU-Net's ignore label as -1, which reaches no loss and no score.

    Raises:
        DataError: the ignore label is not one value of its own.
    """
    ignored = [value for name, value in labels.items() if _is_ignore(name)]
    if not ignored:
        return meaning
    taken = {value for value, _ in meaning.classes}
    if len(ignored) > 1 or not isinstance(ignored[0], int) or str(ignored[0]) in taken:
        msg = f"{where}, labels: the ignore label is {ignored}, expected one value that no class has. Correct it."
        raise DataError(msg)
    note = f"elements of value {ignored[0]} (ignore) take part in no loss and no score"
    return meaning._replace(classes=(*meaning.classes, (str(ignored[0]), -1)), notes=(*meaning.notes, note))


def _case(item: _Found, meaning: MaskTask, spec: FolderSpec, *, check: bool) -> Case:
    for path in item.images:
        require_file(path, f"case {item.name!r}, image", check=check)
    mask = item.mask
    if mask is not None:
        require_file(mask, f"case {item.name!r}, mask", check=check)
    return Case(
        id=item.name,
        image=tuple(map(ImageRef, item.images)),
        targets={} if mask is None else {meaning.task.head: meaning.ref(mask)},
        group=group_in(item.name, spec.group_pattern),
        split=item.split,
    )


def _listed(folder: Path, data: Mapping[str, Any]) -> Iterator[_Found]:
    """Yield the cases that dataset.json lists with their paths."""
    for name, item in sorted(data["dataset"].items()):
        where = f"{folder / 'dataset.json'}, dataset, {name!r}"
        images = tuple(inside(folder, text, where) for text in item.get("images", ()))
        yield _Found(name, images, inside(folder, item.get("label", ""), where), "")


def _files(folder: Path, data: Mapping[str, Any], channels: int) -> Iterator[_Found]:
    """Yield the cases that lie in imagesTr and imagesTs."""
    ending = str(data.get("file_ending", ""))
    if not ending.startswith("."):
        msg = f'{folder / "dataset.json"}: "file_ending" is {ending!r}, expected for example ".nii.gz". Correct it.'
        raise DataError(msg)
    pattern = re.compile(rf"(?P<case>.+)_(?P<channel>\d{{4}}){re.escape(ending)}")
    for suffix, split in _FOLDERS:
        images, masks = folder / f"images{suffix}", folder / f"labels{suffix}"
        matches = [pattern.fullmatch(path.name) for path in sorted(images.iterdir())] if images.is_dir() else []
        names = dict.fromkeys(match["case"] for match in matches if match)
        if not names and split == "":
            msg = f"{images}: holds no files CASE_0000{ending}. Check file_ending in dataset.json."
            raise DataError(msg)
        for name in names:
            files = tuple(images / f"{name}_{channel:04d}{ending}" for channel in range(channels))
            mask = masks / f"{name}{ending}"
            yield _Found(name, files, mask if split == "" or mask.exists() else None, split)
