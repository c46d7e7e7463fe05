"""A CSV manifest: one row for each case, any column names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef, Target
from allograft.data.cohort import Cohort
from allograft.data.io.format import ENDINGS
from allograft.data.labels import LabelSpec, infer_task, multilabel_task, plain, target_of, yes_or_no
from allograft.data.mask_task import mask_task
from allograft.data.table import Row, Table, read_table

__all__ = ["DOMAIN_NAMES", "UNKNOWN_GROUPS", "ManifestSpec", "read_cases", "read_images", "read_manifest", "split_name"]

UNKNOWN_GROUPS = "patients are unknown: each image counts as independent, which flatters results if it is not so"
"""The note of a cohort that does not say which images share a patient."""

_IMAGE = ("image", "image_path", "path", "file", "filename", "file_name", "filepath", "image_id")
_MASK = ("mask", "mask_path", "segmentation", "seg", "label_map")
_LABEL = ("label", "target", "class", "diagnosis", "dx")
_GROUP = ("patient_id", "patient", "patientid", "subject_id", "subject", "group")
DOMAIN_NAMES = ("site", "scanner", "domain", "hospital", "centre", "center")
_SPLIT = ("split", "set", "partition")
_ID = ("case_id", "case", "id")
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "tune"),
    "test": ("test", "testing", "holdout"),
}
_ARRAY_ROW = re.compile(r"(?P<path>.+\.np[yz])(?::(?P<key>\w+))?(?:\[(?P<row>\d+)\])?", re.IGNORECASE)


class ManifestSpec(LabelSpec):
    """Which column means what. A field left at None takes a usual name if the file has it.

    Args:
        image: column of the image's path; several columns are the channels of one image, and name them.
        label: column of the class or value; several columns are yes/no labels (multilabel).
        mask: column of the mask's path (label file, DICOM SEG or RTSTRUCT, folder with a file for each
            class), which makes the task a segmentation.
        group: column of the independent unit (patient).
        domain: column of the site or scanner.
        split: column that fixes "train", "val" or "test".
        id: column of the case's name; by default the image's path as the table has it.
        root: folder that relative paths start from, itself relative to the table; its folder.
        delimiter: between cells, None to look.
        unit: what a group is.
        name: name of the data set; by default the file's.
    """

    image: str | tuple[str, ...] | None = None
    label: str | tuple[str, ...] | None = None
    mask: str | None = None
    group: str | None = None
    domain: str | None = None
    split: str | None = None
    id: str | None = None
    root: str = "."
    delimiter: str | None = None
    unit: str = "patient"
    name: str = ""


def read_manifest(path: Path, spec: ManifestSpec | None = None, *, check_files: bool = True) -> Cohort:
    """Read a manifest.

    Args:
        path: CSV or TSV file.
        spec: the columns' meaning.
        check_files: look whether each image exists; the audit turns it off to list all that miss.

    Raises:
        ConfigError: a named column does not exist.
        DataError: a row is wrong or an image is missing; names line, column and value.
    """
    spec = spec or ManifestSpec()
    table = read_table(path, spec.delimiter)
    reader = _Columns(table, spec)
    labels, task, notes = _labels(table, spec, reader) if reader.mask is None else _masks(spec, reader, check_files)
    cases = tuple(reader.case(row, targets, check=check_files) for row, targets in zip(table.rows, labels, strict=True))
    _no_image_twice(path, table, cases)
    if reader.group is None:
        notes = (*notes, UNKNOWN_GROUPS)
    unit = spec.unit if reader.group is not None else "image"
    channels = reader.images if len(reader.images) > 1 else ()
    return Cohort(spec.name or path.stem, task, cases, unit=unit, notes=notes, channels=channels)


def read_images(path: Path, spec: ManifestSpec | None = None) -> tuple[tuple[str, tuple[ImageRef, ...]], ...]:
    """Read a manifest's images only, for prediction: no labels are needed and files may be missing.

    Returns:
        For each row its image cell as written, and where the image lies.

    Raises:
        ConfigError: the image's column does not exist.
        DataError: the table cannot be read, or a row's image cell is empty.
    """
    spec = spec or ManifestSpec()
    table = read_table(path, spec.delimiter)
    reader = _Columns(table, spec, labelled=False)
    return tuple(
        (row.cells[reader.images[0]], tuple(_image(reader, row, column, check=False) for column in reader.images))
        for row in table.rows
    )


def read_cases(path: Path, task: Task, spec: ManifestSpec | None = None) -> Cohort:
    """Read a manifest's images with their groups, sites and splits as a cohort without labels.

    Args:
        path: CSV or TSV file.
        task: of the cohort; nothing is read for it.
        spec: the columns' meaning.

    Raises:
        ConfigError: a named column does not exist.
        DataError: a row is wrong or an image is missing; names line, column and value.
    """
    spec = spec or ManifestSpec()
    table = read_table(path, spec.delimiter)
    reader = _Columns(table, spec, labelled=False)
    cases = tuple(reader.case(row, {}, check=True) for row in table.rows)
    _no_image_twice(path, table, cases)
    channels = reader.images if len(reader.images) > 1 else ()
    unit, notes = (spec.unit, ()) if reader.group is not None else ("image", (UNKNOWN_GROUPS,))
    return Cohort(spec.name or path.stem, task, cases, unit=unit, notes=notes, channels=channels)


class _Columns:
    """The columns of one table, found once, and how a row becomes a case."""

    def __init__(self, table: Table, spec: ManifestSpec, *, labelled: bool = True) -> None:
        several = (spec.image,) if isinstance(spec.image, str) or spec.image is None else spec.image
        self.table = table
        self.images = tuple(table.required(name, _IMAGE, what="the image") for name in several)
        several = (spec.label,) if isinstance(spec.label, str) or spec.label is None else spec.label
        self.mask = _mask_column(table, spec) if labelled else None
        wants = labelled and self.mask is None
        self.labels = tuple(table.required(name, _LABEL, what="the label") for name in several if wants)
        self.group = table.column(spec.group, _GROUP, what="the group (patient)")
        self.domain = table.column(spec.domain, DOMAIN_NAMES, what="the domain (site)")
        self.split = table.column(spec.split, _SPLIT, what="the split")
        self.id = table.column(spec.id, _ID, what="the case's id")
        self.root = (table.path.parent / spec.root).resolve()
        known = {*self.images, *self.labels, self.mask, self.group, self.domain, self.split, self.id}
        self.rest = tuple(name for name in table.columns if name not in known and name)

    def case(self, row: Row, targets: Mapping[str, Target], *, check: bool) -> Case:
        """Return one row's case."""
        refs = tuple(_image(self, row, column, check=check) for column in self.images)
        name = self._cell(row, self.id) if self.id else row.cells[self.images[0]]
        return Case(
            id=name,
            image=refs,
            targets=targets,
            group=self._cell(row, self.group) if self.group else name,
            domain=row.cells[self.domain] if self.domain else "",
            split=split_name(row.cells[self.split], self.where(row, self.split)) if self.split else "",
            attributes={column: row.cells[column] for column in self.rest},
        )

    def where(self, row: Row, column: str) -> str:
        """Name a cell for a message."""
        return f"{self.table.path}, line {row.line}, column {column}"

    def _cell(self, row: Row, column: str) -> str:
        """Return a cell that must not be empty."""
        if not row.cells[column]:
            msg = f"{self.where(row, column)}: empty. Fill it in; an unknown patient gets a name of its own."
            raise DataError(msg)
        return row.cells[column]


def _labels(
    table: Table, spec: ManifestSpec, columns: _Columns
) -> tuple[list[Mapping[str, Target]], Task, tuple[str, ...]]:
    """Return each row's targets, the task, and notes."""
    rows, names = table.rows, columns.labels
    if len(names) > 1 or spec.kind == "multilabel":
        task = multilabel_task(names, spec, str(table.path))
        texts = [{name: plain(row.cells[name]) for name in names} for row in rows]
        pairs = zip(rows, texts, strict=True)
        return [yes_or_no(text, task, f"{table.path}, line {row.line}") for row, text in pairs], task, ()
    one = [plain(row.cells[names[0]]) for row in rows]
    task, notes = infer_task(one, spec, f"{table.path}, column {names[0]}")
    targets = [target_of(task, text, columns.where(row, names[0])) for row, text in zip(rows, one, strict=True)]
    return targets, task, notes


def _mask_column(table: Table, spec: ManifestSpec) -> str | None:
    """Return the column of masks: the named one, or a usual one where the task is a segmentation or has no label."""
    if spec.mask is None and spec.kind != "segmentation":
        if spec.kind is not None or spec.label is not None or table.column(None, _LABEL, what="the label"):
            return None
        return table.column(None, _MASK, what="the mask")
    return table.required(spec.mask, _MASK, what="the mask")


def _masks(
    spec: ManifestSpec, columns: _Columns, check: bool
) -> tuple[list[Mapping[str, Target]], Task, tuple[str, ...]]:
    """Return each row's mask as its target; an empty cell is unlabelled."""
    column = columns.mask
    assert column is not None, "only asked for where there is a column"
    filled = [row.cells[column] != "" for row in columns.table.rows]
    refs = [
        _image(columns, row, column, check=check) if there else None
        for row, there in zip(columns.table.rows, filled, strict=True)
    ]
    meaning = mask_task([ref for ref in refs if ref is not None], spec, f"{columns.table.path}, column {column}")
    head, classes = meaning.task.head, meaning.classes
    targets: list[Mapping[str, Target]] = [{} if ref is None else {head: ref._replace(classes=classes)} for ref in refs]
    return targets, meaning.task, meaning.notes


def _image(columns: _Columns, row: Row, column: str, *, check: bool) -> ImageRef:
    """Return the reference that a cell names: a path, or "array.npz:key[row]"."""
    text = row.cells[column]
    if not text:
        msg = f"{columns.where(row, column)}: empty, expected the image's path. Fill it in or drop the row."
        raise DataError(msg)
    if "\\" in text and "/" not in text:
        text = text.replace("\\", "/")
    match = _ARRAY_ROW.fullmatch(text)
    name, key, number = match.group("path", "key", "row") if match else (text, None, None)
    path = _with_ending(columns.root / str(name))
    if check and not path.exists():
        msg = (
            f"{columns.where(row, column)}: no such file: {path}. Correct the path, or set `root` to the folder "
            "that the table's paths start from."
        )
        raise DataError(msg)
    return ImageRef(path, key or "", None if number is None else int(number))


def _with_ending(path: Path) -> Path:
    """Add the ending that a table left out, where exactly one file fits."""
    if path.suffix.lower() in ENDINGS or path.exists():
        return path
    fits = [p for ending in ENDINGS if (p := path.with_name(path.name + ending)).exists()]
    return fits[0] if len(fits) == 1 else path


def _no_image_twice(path: Path, table: Table, cases: tuple[Case, ...]) -> None:
    seen: dict[tuple[ImageRef, ...], int] = {}
    names: dict[str, int] = {}
    for row, case in zip(table.rows, cases, strict=True):
        if case.image in seen:
            msg = f"{path}: lines {seen[case.image]} and {row.line} name the same image {case.image[0]}. Keep one."
            raise DataError(msg)
        if case.id in names:
            msg = f"{path}: lines {names[case.id]} and {row.line} have the same id {case.id!r}. Ids must be unique."
            raise DataError(msg)
        seen[case.image] = names[case.id] = row.line


def split_name(text: str, where: str) -> str:
    """Return "train", "val", "test" or "" for the names in use.

    Raises:
        DataError: the name is none of them.
    """
    plain_text = text.strip().lower()
    for name, others in _SPLITS.items():
        if plain_text in others:
            return name
    if plain_text:
        known = ", ".join(name for names in _SPLITS.values() for name in names)
        msg = f"{where}: unknown split {text!r}. Known: {known}."
        raise DataError(msg)
    return ""
