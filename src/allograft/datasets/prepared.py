"""Prepared: images and masks that a data set makes once from its origins, with an index of hashes and counts."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.atomic import folder_aside, write_text
from allograft.core.config import Config, canonical_json
from allograft.core.errors import DataError
from allograft.core.private import home
from allograft.data.case import Case, ImageRef, Target
from allograft.data.cohort import Cohort
from allograft.data.io.nifti_write import save_nifti
from allograft.data.origins import OnProgress, content_sha256, resolve
from allograft.datasets.dataset import Dataset

__all__ = [
    "Item",
    "Sources",
    "card_of",
    "check_cohort",
    "check_shares",
    "cohort_of",
    "counts_of",
    "fetch",
    "made_once",
    "save_classed",
    "save_pair",
    "save_volumes",
    "sha256_of",
]

INDEX = "index.json"

Sources = Mapping[str, tuple[str, str]]
"""By name: origin and SHA-256."""

Affine = npt.NDArray[np.float64]


class Item(Config):
    """One case of an index.

    Args:
        id: the case's name.
        image: file of the image, relative to the index.
        mask: file of the mask, "" where the case has a class.
        label: class index, None where the case has a mask.
        group: the independent unit.
        domain: template, scanner or modality.
        sha256: of image and mask (where there is one), then of the further channels.
        counts: of a mask, elements of each class, in the order of the classes.
        attributes: further facts.
        channels: files of further channels, after `image`'s.
    """

    id: str
    image: str
    mask: str = ""
    label: int | None = None
    group: str
    domain: str
    sha256: tuple[str, ...]
    counts: tuple[int, ...] = ()
    attributes: Mapping[str, str] = {}
    channels: tuple[str, ...] = ()

    def images(self, folder: Path) -> tuple[ImageRef, ...]:
        """Return a reference for each channel file."""
        return tuple(ImageRef(folder / name) for name in (self.image, *self.channels))

    def target(self, folder: Path) -> Target:
        """Return the class index, or a reference to the mask."""
        return ImageRef(folder / self.mask) if self.label is None else self.label

    def files(self) -> tuple[str, ...]:
        """Return all files, in the order of their hashes."""
        return tuple(name for name in (self.image, self.mask, *self.channels) if name)


class _Index(Config):
    items: tuple[Item, ...]


class _Known(NamedTuple):
    """What a case must be."""

    image: tuple[ImageRef, ...]
    target: Target | None
    group: str


def fetch(files: Sources, progress: OnProgress | None = None, *, allow_build: bool = False) -> dict[str, Path]:
    """Return the files by name, each checked.

    Raises:
        DataError: one cannot be reached or is another file.
    """
    return {
        name: resolve(origin, sha256=sha256, progress=progress, allow_build=allow_build)
        for name, (origin, sha256) in files.items()
    }


def _origin_facts(files: Sources) -> dict[str, dict[str, str]]:
    """Return origins and hashes as a card shows them."""
    return {name: {"origin": origin, "sha256": sha256} for name, (origin, sha256) in files.items()}


def card_of(dataset: Dataset, files: Sources, cohort_facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that every card has, and those of the cohort: cases, groups, image, labels, notes, seen_as."""
    return {
        "name": dataset.name,
        "title": dataset.title,
        "licence": dataset.licence,
        "commercial": True,
        "reference": dataset.reference.model_dump(mode="json"),
        "origin": _origin_facts(files),
        "unit": dataset.unit,
        "task": dataset.task.model_dump(mode="json"),
        "preprocess": dataset.preprocess.model_dump(mode="json"),
        **cohort_facts,
    }


def save_pair(folder: Path, item: Mapping[str, Any], image: npt.NDArray[Any], labels: npt.NDArray[Any], n: int) -> Item:
    """Write an image and its labels as .npy files and return their row of the index.

    Args:
        folder: where they go.
        item: id, group and domain, and attributes where it has some.
        image: (*S).
        labels: (*S) class indices.
        n: number of classes.
    """
    files = folder / f"{item['id']}.npy", folder / f"{item['id']}-labels.npy"
    for path, array in zip(files, (image, labels.astype(np.uint8)), strict=True):
        _save_array(path, array)
    names = {"image": files[0].name, "mask": files[1].name}
    return Item.model_validate({**item, **names, "sha256": sha256_of(*files), "counts": counts_of(labels, n)})


def save_classed(folder: Path, item: Mapping[str, Any], image: npt.NDArray[Any], label: int) -> Item:
    """Write an image (*S) as .npy file and return its row of the index, with a class index."""
    file = folder / f"{item['id']}.npy"
    _save_array(file, image)
    return Item.model_validate({**item, "image": file.name, "label": label, "sha256": sha256_of(file)})


def save_volumes(
    folder: Path, item: Mapping[str, str], volumes: tuple[npt.NDArray[Any], npt.NDArray[Any]], affine: Affine, n: int
) -> Item:
    """Write a volume and its labels as NIfTI files and return their row of the index.

    Args:
        folder: where they go.
        item: id, group and domain.
        volumes: image and class indices, each (D, H, W), axes to superior, anterior, right.
        affine: from (right, anterior, superior) index to world.
        n: number of classes.
    """
    files = folder / f"{item['id']}.nii.gz", folder / f"{item['id']}-labels.nii.gz"
    for path, volume in zip(files, volumes, strict=True):
        save_nifti(path, volume.transpose(2, 1, 0), affine)
    names = {"image": files[0].name, "mask": files[1].name}
    return Item.model_validate({**item, **names, "sha256": sha256_of(*files), "counts": counts_of(volumes[1], n)})


def _save_array(path: Path, array: npt.NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    path.write_bytes(buffer.getvalue())


def made_once(name: str, settings: Mapping[str, Any], make: Callable[[Path], Sequence[Item]]) -> Path:
    """Return the folder of the prepared files; the first call makes it aside and renames it.

    Args:
        name: of the data set.
        settings: all that the files depend on, as plain JSON data.
        make: writes images and masks into a folder and returns the index.
    """
    key = hashlib.sha256(canonical_json(dict(settings)).encode()).hexdigest()[:16]
    folder = home() / "datasets" / name / key
    if not folder.exists():
        with folder_aside(folder) as aside:
            index = _Index(items=tuple(make(aside)))
            write_text(aside / INDEX, canonical_json(index.model_dump(mode="json")))
    return folder


def sha256_of(*files: Path) -> tuple[str, ...]:
    """Return the hashes that an index notes: of image, mask and further channels."""
    return tuple(content_sha256(file) for file in files)


def counts_of(labels: npt.NDArray[Any], classes: int) -> tuple[int, ...]:
    """Return how many elements each class has."""
    assert int(labels.max()) < classes, f"labels hold class {int(labels.max())} of {classes}"
    return tuple(np.bincount(labels.ravel().astype(np.int64), minlength=classes).tolist())


def cohort_of(dataset: Dataset, folder: Path, notes: Sequence[str], seen_as: Sequence[str]) -> Cohort:
    """Return the cohort that a folder's index lists.

    Raises:
        DataError: the index is damaged.
    """
    items = _items(folder)
    cases = tuple(
        Case(
            id=item.id,
            image=item.images(folder),
            targets={dataset.task.head: item.target(folder)},
            group=item.group,
            domain=item.domain,
            attributes=dict(item.attributes),
        )
        for item in items
    )
    notes, seen_as = tuple(notes), tuple(seen_as)
    return Cohort(dataset.name, dataset.task, cases, unit=dataset.unit, notes=notes, seen_as=seen_as)


def check_cohort(dataset: Dataset, cohort: Cohort, folder: Path) -> None:
    """Compare a cohort with the index: the same cases, groups, masks and classes, and files of the noted hashes.

    Raises:
        DataError: something differs; says what.
    """
    items = _items(folder)
    known = {i.id: _Known(i.images(folder), i.target(folder), i.group) for i in items}
    found = {c.id: _Known(c.image, c.targets.get(dataset.task.head), c.group) for c in cohort}
    odd = [name for name in {**known, **found} if known.get(name) != found.get(name)]
    if odd:
        msg = (
            f"{dataset.name}: {len(odd)} cases are not those of the data set, first {odd[0]} (image, label or group). "
            "Use the cohort as prepare() returns it."
        )
        raise DataError(msg)
    for item in items:
        for name, expected in zip(item.files(), item.sha256, strict=True):
            if (got := content_sha256(folder / name)) != expected:
                msg = f"{folder / name}: SHA-256 expected {expected}, got {got}. Remove its folder; it is made again."
                raise DataError(msg)


def check_shares(dataset: Dataset, folder: Path, expected: Mapping[str, Sequence[float]], tolerance: float) -> None:
    """Compare the share that each class has of each domain's elements with what is known.

    Args:
        dataset: whose classes they are.
        folder: of the index.
        expected: share of each class by domain; domains that are not named are not judged.
        tolerance: largest difference.

    Raises:
        DataError: a share differs.
    """
    total: dict[str, npt.NDArray[np.int64]] = {}
    for item in _items(folder):
        total[item.domain] = total.get(item.domain, 0) + np.asarray(item.counts, np.int64)
    for domain in total.keys() & expected.keys():
        shares = total[domain] / total[domain].sum()
        gaps = np.abs(shares - np.asarray(expected[domain]))
        if gaps.max() > tolerance:
            worst = int(gaps.argmax())
            msg = (
                f"{dataset.name}, {domain}: {dataset.task.classes[worst]} fills {shares[worst]:.4f} of the elements, "
                f"{expected[domain][worst]:.4f} expected. Remove {folder}; it is made again."
            )
            raise DataError(msg)


def _items(folder: Path) -> tuple[Item, ...]:
    try:
        return _Index.model_validate_json((folder / INDEX).read_text(encoding="utf-8")).items
    except (OSError, ValueError) as error:
        msg = f"{folder}: the prepared files are damaged ({error}). Remove the folder; it is made again."
        raise DataError(msg) from error
