"""The Medical Segmentation Decathlon's dataset.json: lists of image and label files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.class_folder import FolderSpec, group_in
from allograft.data.cohort import Cohort
from allograft.data.dataset_json import in_order, inside, label_values, peek, read_dataset_json, require_file
from allograft.data.io.format import ending_of
from allograft.data.manifest import UNKNOWN_GROUPS
from allograft.data.mask_task import MaskTask, named_task

__all__ = ["is_decathlon", "read_decathlon"]

_LISTS = (("training", ""), ("validation", "val"), ("test", "test"))


def is_decathlon(path: Path) -> bool:
    """Tell whether a folder's dataset.json, or the file itself, lists its training cases."""
    file = path / "dataset.json" if path.is_dir() else path
    return isinstance(peek(file).get("training"), list)


def read_decathlon(path: Path, spec: FolderSpec | None = None, *, check_files: bool = True) -> Cohort:
    """Read a data set of the Decathlon, or a list of the same form (Auto3DSeg's "fold" is kept as an attribute).

    Args:
        path: the folder or its JSON file.
        spec: class names, metric, and the pattern that finds the patient in a case's name.
        check_files: whether missing files stop here.

    Raises:
        DataError: the file is wrong, or a file is missing.
    """
    spec = spec or FolderSpec()
    file = path / "dataset.json" if path.is_dir() else path
    data = read_dataset_json(file)
    values, notes = label_values(data["labels"], str(file))
    meaning = named_task(values, spec, str(file), notes)
    cases = tuple(
        _case(item, split, file, (meaning, spec), check=check_files)
        for key, split in _LISTS
        for item in data.get(key) or ()
    )
    extra = () if spec.group_pattern else (UNKNOWN_GROUPS,)
    return Cohort(
        name=spec.name or str(data.get("name") or file.resolve().parent.name),
        task=meaning.task,
        cases=cases,
        unit=spec.unit if spec.group_pattern else "image",
        notes=(*meaning.notes, *extra),
        channels=in_order(data.get("modality") or data.get("channel_names")),
    )


def _case(item: Any, split: str, file: Path, about: tuple[MaskTask, FolderSpec], *, check: bool) -> Case:
    """Return one entry's case: {"image": ..., "label": ...}, or only the image's path."""
    meaning, spec = about
    entry = {"image": item} if isinstance(item, str) else item
    if not isinstance(entry, dict) or "image" not in entry:
        msg = f"{file}: the entry {item!r} has no image. Write {{'image': ..., 'label': ...}}."
        raise DataError(msg)
    texts = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
    images = [inside(file.parent, text, f"{file}, image") for text in texts]
    name = images[0].name.removesuffix(ending_of(images[0]))
    targets = {}
    if entry.get("label"):
        mask = inside(file.parent, entry["label"], f"{file}, label of {name!r}")
        targets = {meaning.task.head: meaning.ref(require_file(mask, f"case {name!r}, mask", check=check))}
    return Case(
        id=name,
        image=tuple(ImageRef(require_file(image, f"case {name!r}, image", check=check)) for image in images),
        targets=targets,
        group=group_in(name, spec.group_pattern),
        split=split,
        attributes={"fold": str(entry["fold"])} if "fold" in entry else {},
    )
