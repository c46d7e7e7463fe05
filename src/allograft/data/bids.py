"""BIDS: subjects, sessions and suffixes in names; masks in derivatives. A subject is a group."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from allograft.core.errors import DataError
from allograft.data.case import Case, ImageRef
from allograft.data.class_folder import FolderSpec
from allograft.data.cohort import Cohort
from allograft.data.io.format import ending_of
from allograft.data.mask_task import MaskTask, mask_task, named_task
from allograft.data.table import read_table

__all__ = ["is_bids", "read_bids"]

_MASKS = ("dseg", "mask")
_NAME = re.compile(r"(?P<entities>(?:[a-zA-Z0-9]+-[a-zA-Z0-9]+_)+)(?P<suffix>[a-zA-Z0-9]+)")
_DOMAIN = ("site", "scanner", "center", "centre")


class _File(NamedTuple):
    """A file with what its name says."""

    path: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def visit(self) -> tuple[str, str]:
        """Subject and session."""
        return self.entities["sub"], self.entities.get("ses", "")


def is_bids(folder: Path) -> bool:
    """Tell whether a folder has BIDS subjects and either its description or names after the standard."""
    subjects = [path for path in folder.glob("sub-*") if path.is_dir()]
    return bool(subjects) and ((folder / "dataset_description.json").exists() or any(_files(subjects[0])))


def read_bids(folder: Path, spec: FolderSpec | None = None, *, check_files: bool = True) -> Cohort:
    """Read a BIDS data set with label masks (suffix dseg, or mask).

    A case is one subject's one session; its channels are the suffixes (T1w, FLAIR) that every case
    has, in alphabetical order. Columns of participants.tsv become attributes, a site the domain.

    Args:
        folder: the data set; masks lie in derivatives/ or beside the images.
        spec: class names and mask values where no table (dseg.tsv) names them.
        check_files: whether a case without a mask is an error, where others have one.

    Raises:
        DataError: no masks; several files for one channel or mask of a session; a session without a mask.
    """
    spec = spec or FolderSpec()
    raw = [file for subject in sorted(folder.glob("sub-*")) for file in _files(subject)]
    derived = list(_files(folder / "derivatives")) if (folder / "derivatives").is_dir() else []
    images = [file for file in raw if file.suffix not in _MASKS]
    suffixes, notes = _channels(images, folder)
    masks = _one_mask_each([file for file in (*raw, *derived) if file.suffix in _MASKS], folder)
    meaning = _meaning(folder, list(masks.values()), spec)
    people = _participants(folder)
    visits = list(dict.fromkeys(file.visit for file in images))
    if check_files and (missing := [visit for visit in visits if visit not in masks]):
        msg = f"{folder}: {_title(missing[0])} has no mask (_dseg or _mask), others have. Add it, or take it out."
        raise DataError(msg)
    cases = tuple(
        Case(
            id=_title(visit),
            image=tuple(_one(images, visit, suffix) for suffix in suffixes),
            targets={meaning.task.head: meaning.ref(masks[visit])} if visit in masks else {},
            group=f"sub-{visit[0]}",
            domain=next((people.get(visit[0], {})[key] for key in _DOMAIN if key in people.get(visit[0], {})), ""),
            attributes=people.get(visit[0], {}),
        )
        for visit in visits
    )
    name = spec.name or folder.resolve().name
    notes = (*meaning.notes, *notes)
    return Cohort(name, meaning.task, cases, unit="patient", notes=notes, channels=tuple(suffixes))


def _files(folder: Path) -> Iterator[_File]:
    """Yield images with BIDS names below a folder."""
    for path in sorted(folder.rglob("sub-*.nii*")):
        match = _NAME.fullmatch(path.name.removesuffix(ending_of(path)))
        if match and path.is_file() and ending_of(path) in {".nii", ".nii.gz"}:
            pairs = (part.split("-", 1) for part in match["entities"].rstrip("_").split("_"))
            yield _File(path, dict(pairs), match["suffix"])


def _channels(images: Sequence[_File], folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """Return the suffixes that all sessions have, and a note on those that only some have."""
    if not images:
        msg = f"{folder}: holds no images sub-..._SUFFIX.nii.gz. Check that it is a BIDS data set of NIfTI files."
        raise DataError(msg)
    by_visit: dict[tuple[str, str], set[str]] = {}
    for file in images:
        by_visit.setdefault(file.visit, set()).add(file.suffix)
    shared = set.intersection(*by_visit.values())
    some = set.union(*by_visit.values()) - shared
    if not shared:
        msg = f"{folder}: no suffix ({', '.join(sorted(some))}) is there in every session. Use a manifest instead."
        raise DataError(msg)
    notes = (f"left out, since not every session has it: {', '.join(sorted(some))}",) if some else ()
    return sorted(shared), notes


def _one(images: Sequence[_File], visit: tuple[str, str], suffix: str) -> ImageRef:
    files = [file.path for file in images if file.visit == visit and file.suffix == suffix]
    if len(files) != 1:
        names = ", ".join(path.name for path in files[:4])
        msg = f"{_title(visit)}: {len(files)} files of {suffix} ({names}), expected one. Use a manifest to choose."
        raise DataError(msg)
    return ImageRef(files[0])


def _one_mask_each(masks: Sequence[_File], folder: Path) -> dict[tuple[str, str], Path]:
    """Return each session's mask; a dseg goes before a mask."""
    if not masks:
        msg = f"{folder}: no masks (_dseg.nii.gz or _mask.nii.gz, usually in derivatives/). Use a manifest for labels."
        raise DataError(msg)
    suffix = next(name for name in _MASKS if any(file.suffix == name for file in masks))
    out: dict[tuple[str, str], Path] = {}
    for file in masks:
        if file.suffix != suffix:
            continue
        if file.visit in out:
            msg = (
                f"{_title(file.visit)}: several masks ({out[file.visit].name}, {file.path.name}). "
                "Use a manifest to choose, or keep one."
            )
            raise DataError(msg)
        out[file.visit] = file.path
    return out


def _meaning(folder: Path, masks: Sequence[Path], spec: FolderSpec) -> MaskTask:
    """Take label names from dseg.tsv where there is one, else from the masks."""
    tables = sorted((*folder.glob("*dseg.tsv"), *(folder / "derivatives").glob("**/*dseg.tsv")))
    if not tables:
        return mask_task(map(ImageRef, masks), spec, str(folder))
    table = read_table(tables[0], "\t")
    index = table.required(None, ("index",), what="the label's value")
    name = table.required(None, ("name", "abbreviation"), what="the label's name")
    try:
        values = {row.cells[name]: int(row.cells[index]) for row in table.rows}
    except ValueError as error:
        msg = f"{tables[0]}, column {index}: {error}. Write whole numbers."
        raise DataError(msg) from error
    values = values if 0 in values.values() else {"background": 0, **values}
    return named_task(values, spec, str(tables[0]))


def _participants(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "participants.tsv"
    if not path.exists():
        return {}
    table = read_table(path, "\t")
    key = table.required(None, ("participant_id",), what="the subject")
    rest = [name for name in table.columns if name != key]
    return {row.cells[key].removeprefix("sub-"): {name: row.cells[name] for name in rest} for row in table.rows}


def _title(visit: tuple[str, str]) -> str:
    return f"sub-{visit[0]}" + (f"_ses-{visit[1]}" if visit[1] else "")
