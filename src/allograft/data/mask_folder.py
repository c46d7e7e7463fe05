"""Images with masks beside them: paired folders, or for each case a folder with a mask of each class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.class_folder import FolderSpec, group_in, image_files, is_series
from allograft.data.cohort import Cohort
from allograft.data.io.format import ending_of, is_image_name
from allograft.data.io.mask import mask_files
from allograft.data.manifest import UNKNOWN_GROUPS
from allograft.data.mask_task import mask_task

__all__ = ["is_mask_folder", "read_mask_folder"]

_IMAGES = ("images", "imgs", "image", "img", "scans")
_MASKS = ("masks", "mask", "labels", "segmentations", "annotations", "gt")
_PER_CASE = ("segmentations", "masks", "labels")
_MASK_ENDINGS = ("_mask", "_seg", "_label", "_labels", "_segmentation", "-mask", "-seg")


class _Found(NamedTuple):
    """A case: its name, image and mask."""

    name: str
    image: Path
    mask: Path | None


def is_mask_folder(folder: Path) -> bool:
    """Tell whether a folder has images and masks side by side, in either form."""
    return _paired(folder) is not None or bool(_case_folders(folder))


def read_mask_folder(folder: Path, spec: FolderSpec | None = None, *, check_files: bool = True) -> Cohort:
    """Read images with masks.

    Two forms: images/NAME.png with masks/NAME.png (or NAME_mask.png), values of the files being
    classes; and CASE/ct.nii.gz with CASE/segmentations/ORGAN.nii.gz, one file for each class. An
    image without a mask is an error; a case folder without masks is unlabelled.

    Args:
        folder: the data set.
        spec: class names, mask values, and the pattern that finds the patient in a case's name.
        check_files: whether what is missing stops here.

    Raises:
        DataError: an image without a mask, a mask without an image, or a case that lacks a class.
    """
    spec = spec or FolderSpec()
    pair = _paired(folder)
    found = _pairs(*pair, check=check_files) if pair is not None else _cases(folder)
    if not found:
        msg = f"{folder}: no images with masks. Expected images/ and masks/, or CASE/ct.nii.gz and CASE/segmentations/."
        raise DataError(msg)
    meaning = mask_task([ImageRef(item.mask) for item in found if item.mask is not None], spec, str(folder))
    if pair is None and check_files:
        _same_classes(found, [name for name, index in meaning.classes if index])
    cases = tuple(
        Case(
            id=item.name,
            image=(ImageRef(item.image),),
            targets={} if item.mask is None else {meaning.task.head: meaning.ref(item.mask)},
            group=group_in(item.name, spec.group_pattern),
        )
        for item in found
    )
    extra = () if spec.group_pattern else (UNKNOWN_GROUPS,)
    return Cohort(
        name=spec.name or folder.resolve().name,
        task=meaning.task,
        cases=cases,
        unit=spec.unit if spec.group_pattern else "image",
        notes=(*meaning.notes, *extra),
    )


def _paired(folder: Path) -> tuple[Path, Path] | None:
    by_name = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    images = [by_name[name] for name in _IMAGES if name in by_name]
    masks = [by_name[name] for name in _MASKS if name in by_name]
    return (images[0], masks[0]) if images and masks else None


def _pairs(images: Path, masks: Path, *, check: bool) -> list[_Found]:
    """Pair files by their names without ending, and without what marks a mask."""
    by_name = {_plain(path, masks, is_mask=True): path for path in image_files(masks, Counter())}
    out = []
    for path in image_files(images, Counter()):
        name = _plain(path, images, is_mask=False)
        mask = by_name.pop(name, None)
        if mask is None and check:
            msg = f"{path}: has no mask of the same name in {masks}. Add it, or take the image out."
            raise DataError(msg)
        out.append(_Found(name, path, mask))
    if by_name and check:
        mask = next(iter(by_name.values()))
        msg = f"{mask}: has no image of the same name in {images}. Add it, or take the mask out."
        raise DataError(msg)
    return out


def _plain(path: Path, root: Path, *, is_mask: bool) -> str:
    inside = path.relative_to(root)
    name = inside.name if path.is_dir() else inside.name[: len(inside.name) - len(ending_of(path))]
    for ending in _MASK_ENDINGS if is_mask else ():
        name = name.removesuffix(ending)
    return (inside.parent / name).as_posix()


def _case_folders(folder: Path) -> list[tuple[Path, Path]]:
    """Return each case's folder with its folder of masks."""
    cases = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    masks = [next((case / name for name in _PER_CASE if (case / name).is_dir()), None) for case in cases]
    return [(case, found) for case, found in zip(cases, masks, strict=True) if found is not None]


def _cases(folder: Path) -> list[_Found]:
    out = []
    for case, masks in _case_folders(folder):
        image = _image_of(case)
        out.append(_Found(case.name, image, masks if mask_files(masks) else None))
    return out


def _image_of(case: Path) -> Path:
    """Return the one image, or the one DICOM series, of a case's folder."""
    beside = [path for path in sorted(case.iterdir()) if path.name not in _PER_CASE]
    found = [path for path in beside if (is_series(path) if path.is_dir() else is_image_name(path))]
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        msg = f"{case}: holds {len(found)} images beside its masks ({names}), expected one. Use a manifest instead."
        raise DataError(msg)
    return found[0]


def _same_classes(found: list[_Found], names: list[str]) -> None:
    for item in found:
        missing = [name for name in names if item.mask is not None and name not in mask_files(item.mask)]
        if missing:
            msg = (
                f"case {item.name!r}: {item.mask} has no mask of {missing[0]!r}, which other cases have. Add it (all "
                "zero where the class is absent), or list the `classes` to use."
            )
            raise DataError(msg)
