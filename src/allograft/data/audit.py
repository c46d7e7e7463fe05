"""Audit: look at every image once and say what would make a study wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from allograft.core.errors import ConfigError, DataError
from allograft.data.audit_cohort import (
    class_problems,
    group_problems,
    shortcut_problems,
    side_problems,
    split_problems,
)
from allograft.data.audit_images import duplicate_problems, image_problems, unreadable
from allograft.data.audit_masks import class_cases, labels_of, mask_problems
from allograft.data.audit_result import Audit, ClassCount, Pair, Problem
from allograft.data.audit_volumes import size_advice, volume_problems
from allograft.data.class_folder import FolderSpec
from allograft.data.cohort import Cohort
from allograft.data.duplicates import find_duplicates
from allograft.data.look import Look, look
from allograft.data.manifest import ManifestSpec
from allograft.data.preprocess import Preprocess
from allograft.data.sniff import open_data
from allograft.data.split import classes_of

__all__ = ["Audit", "Problem", "audit", "audit_path"]


def audit(
    cohort: Cohort,
    *,
    progress: Callable[[int, int], None] | None = None,
    source: str = "",
    preprocess: Preprocess | None = None,
) -> Audit:
    """Read every image and mask of a cohort once and return counts, duplicates and problems.

    Args:
        cohort: the cases; files need not exist, what misses is reported.
        progress: called with (done, all) after each image.
        source: the path that was opened, for the result.
        preprocess: of the study that is to read the data; what it settles is no problem.
    """
    start = time.perf_counter()
    looks, failed = _look_at_all(cohort, progress)
    pairs = find_duplicates([item.print for item in looks])
    found = (
        *unreadable(failed),
        *image_problems(looks, size_advice(cohort.task.kind, preprocess)),
        *volume_problems(looks, preprocess),
        *mask_problems(cohort, looks),
        *duplicate_problems(
            cohort, pairs, labels_of(cohort, looks), {item.id for item in looks if len(item.shape) == 3}
        ),
        *class_problems(cohort),
        *side_problems(cohort),
        *split_problems(cohort),
        *group_problems(cohort),
        *shortcut_problems(cohort, looks),
    )
    return _of_cohort(cohort, source).model_copy(
        update={
            **_of_images(looks),
            **({"classes": _mask_counts(cohort, looks)} if cohort.task.kind == "segmentation" else {}),
            "duplicates": tuple(Pair(**pair._asdict()) for pair in pairs),
            "problems": tuple(sorted(found, key=lambda item: item.severity != "error")),
            "seconds": time.perf_counter() - start,
        }
    )


def _look_at_all(cohort: Cohort, progress: Callable[[int, int], None] | None) -> tuple[list[Look], dict[str, str]]:
    """Return the facts of readable images, and the reader's message by case for the others."""
    looks: list[Look] = []
    failed: dict[str, str] = {}
    for done, case in enumerate(cohort, start=1):
        seen = look(case, cohort.task.head)
        if isinstance(seen, str):
            failed[case.id] = seen
        else:
            looks.append(seen)
        if progress is not None:
            progress(done, len(cohort))
    return looks, failed


def _of_cohort(cohort: Cohort, source: str) -> Audit:
    """Return what the cohort says without its images."""
    sizes = sorted(Counter(case.group for case in cohort).values()) or [0]
    return Audit(
        name=cohort.name,
        source=source,
        kind=cohort.task.kind,
        classes=_class_counts(cohort),
        cases=len(cohort),
        labelled=len(cohort.labelled()),
        unit=cohort.unit,
        groups=len(cohort.groups),
        cases_per_group=(sizes[0], float(np.median(sizes)), sizes[-1]),
        domains=_counts(case.domain for case in cohort if case.domain),
        splits=_counts(case.split for case in cohort if case.split),
        notes=cohort.notes,
    )


def _of_images(looks: Sequence[Look]) -> dict[str, object]:
    """Return the fields of an audit that come from its images."""
    return {
        "dims": _counts(f"{len(item.shape)}-D" for item in looks),
        "sizes": _counts(item.size for item in looks),
        "channels": _counts(str(item.channels) for item in looks),
        "types": _counts(item.dtype for item in looks),
        "intensity": (min(item.low for item in looks), max(item.high for item in looks)) if looks else None,
        "spacing_mm": _spacing(looks),
        "orientations": _counts(item.orient for item in looks if item.orient),
    }


def audit_path(
    path: Path,
    *,
    manifest: ManifestSpec | None = None,
    folder: FolderSpec | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Open data of any known layout and audit them; data that cannot be opened are an error of the audit.

    Args:
        path: what `open_data` takes.
        manifest: settings for a table.
        folder: settings for folders of classes.
        progress: called with (done, all) after each image.
    """
    try:
        cohort = open_data(path, manifest=manifest, folder=folder, check_files=False)
    except (DataError, ConfigError) as error:
        text = "The data cannot be opened as a data set."
        problem = Problem(severity="error", kind="not_opened", text=text, details=(str(error),))
        return Audit(name=path.name, source=str(path), problems=(problem,))
    return audit(cohort, progress=progress, source=str(path))


def _class_counts(cohort: Cohort) -> tuple[ClassCount, ...]:
    names = classes_of(cohort)
    out = []
    for name in cohort.task.classes if names else ():
        groups = [case.group for case in cohort if name in names.get(case.id, ())]
        out.append(ClassCount(name=name, cases=len(groups), groups=len(set(groups))))
    return tuple(out)


def _mask_counts(cohort: Cohort, looks: Sequence[Look]) -> tuple[ClassCount, ...]:
    """Return in how many masks and groups each class other than the background occurs."""
    members = class_cases(cohort, looks).items()
    return tuple(ClassCount(name=n, cases=len(ids), groups=len({cohort[c].group for c in ids})) for n, ids in members)


def _counts(values: Iterable[str]) -> dict[str, int]:
    """Count, most frequent first."""
    return dict(Counter(values).most_common())


def _spacing(looks: Sequence[Look]) -> tuple[tuple[float, float], ...]:
    """Return the range of spacing along each axis, where all that say it have the same dims."""
    known = [item.spacing for item in looks if item.spacing]
    if len({len(item) for item in known}) != 1:
        return ()
    return tuple((min(axis), max(axis)) for axis in zip(*known, strict=True))
