"""allograft audit: look at every image once and say what would make a study wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allograft.cli.console import AsJson, Tick, emit_json, out, progress, table
from allograft.cli.data_options import (
    Group,
    GroupPattern,
    HideIds,
    ImageColumn,
    Label,
    Mask,
    Site,
    Split,
    folder_spec,
    manifest_spec,
)
from allograft.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from allograft.data.audit import Audit, Problem
    from allograft.data.class_folder import FolderSpec
    from allograft.data.cohort import Cohort
    from allograft.data.manifest import ManifestSpec
    from allograft.data.preprocess import Preprocess

    Opened = tuple[str, str, Callable[[], Cohort], Preprocess | None]

__all__ = ["audit"]


def audit(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A table, folders of classes, a MedMNIST .npz, or a study file.")
    ],
    image: ImageColumn = None,
    label: Label = None,
    mask: Mask = None,
    group: Group = None,
    site: Site = None,
    split: Split = None,
    group_pattern: GroupPattern = None,
    hide_ids: HideIds = False,
    as_json: AsJson = False,
) -> None:
    """Print counts, sizes, classes, groups, duplicates and every problem; exits 1 where a study would be wrong."""
    from allograft.core.private import site_salt

    if data.suffix.lower() in {".yaml", ".yml"}:
        opened = list(_of_study(data))
    else:
        columns = manifest_spec(image=image, label=label, mask=mask, group=group, site=site, split=split)
        opened = [_of_data(data, columns, folder_spec(group_pattern))]
    salt = site_salt() if hide_ids else None
    found = []
    with progress("images", quiet=as_json) as tick:
        for each in opened:
            found.append(_audited(each, tick, salt))
    ok = all(result.ok for result, _ in found)
    if as_json:
        rows = [{**json.loads(result.json_text()), "files": files} for result, files in found]
        emit_json(rows[0] if data.suffix.lower() not in {".yaml", ".yml"} else {"ok": ok, "audits": rows})
    else:
        for result, files in found:
            _show(result, files)
    if not ok:
        raise typer.Exit(1)


def _of_study(file: Path) -> Iterator[Opened]:
    """Yield each data set of a study file: name, place, how to open it, and what is done to its images."""
    from allograft.study.data_spec import open_cohort
    from allograft.study.grid import read_study

    study = read_study(file)
    for spec in study.data:
        place = spec.dataset or str(file.resolve().parent / (spec.path or ""))
        opens = partial(open_cohort, spec, base=file.resolve().parent, check_files=False)
        yield spec.name, place, opens, spec.preprocess or study.preprocess


def _of_data(path: Path, columns: ManifestSpec, folders: FolderSpec) -> Opened:
    from allograft.data.sniff import open_data

    return path.name, str(path), lambda: open_data(path, manifest=columns, folder=folders, check_files=False), None


def _audited(opened: Opened, tick: Tick, salt: str | None) -> tuple[Audit, dict[str, str]]:
    """Return the audit and the file of each case that a problem names; data that do not open are a problem."""
    from allograft.data.audit import Audit, Problem
    from allograft.data.audit import audit as look

    name, place, open_it, preprocess = opened
    try:
        cohort = open_it()
    except (DataError, ConfigError) as error:
        text = "The data cannot be opened as a data set."
        problem = Problem(severity="error", kind="not_opened", text=text, details=(str(error),))
        found = Audit(name=name, source=place, problems=(problem,))
        return (found if salt is None else found.hidden(salt)), {}
    found = look(cohort, progress=tick, source=place, preprocess=preprocess)
    if salt is not None:
        return found.hidden(salt), {}
    named = dict.fromkeys(case for problem in found.problems for case in problem.cases)
    return found, {case: str(cohort[case].image[0]) for case in named if case in cohort.ids}


def _show(found: Audit, files: dict[str, str]) -> None:
    """Write one audit for a person, problems last, where they are read."""
    if found.cases:
        table(f"{found.name}: {found.kind}, {found.cases} cases", ("fact", "value"), _facts(found))
    if found.classes:
        rows = [(c.name, c.cases, c.groups) for c in found.classes]
        table("classes", ("class", "cases", f"{found.unit}s"), rows)
    for problem in found.problems:
        _show_problem(problem, files)
    errors = len(found.errors)
    verdict = "a study on these data would be right" if found.ok else f"{errors} error(s): a study would be wrong"
    out.print(
        f"{found.name}: {verdict}; {len(found.problems) - errors} warning(s), {found.seconds:.1f} s", markup=False
    )


def _facts(found: Audit) -> list[tuple[str, Any]]:
    low, middle, high = found.cases_per_group
    facts: list[tuple[str, Any]] = [
        ("labelled", found.labelled),
        ("groups", f"{found.groups} ({found.unit}); cases in each: {low} to {high}, median {middle:g}"),
        ("sites", _counted(found.domains)),
        ("splits", _counted(found.splits)),
        ("dims", _counted(found.dims)),
        ("sizes", _counted(found.sizes)),
        ("channels", _counted(found.channels)),
        ("number types", _counted(found.types)),
        ("values", "" if found.intensity is None else f"{found.intensity[0]:g} to {found.intensity[1]:g}"),
        ("spacing, mm", ", ".join(f"{a:g} to {b:g}" for a, b in found.spacing_mm)),
        ("axes in files", _counted(found.orientations)),
        ("duplicates", f"{len(found.duplicates)} pairs" if found.duplicates else "none"),
        *(("note", note) for note in found.notes),
    ]
    return [(name, value) for name, value in facts if value not in {"", None}]


def _counted(counts: dict[str, int]) -> str:
    first = list(counts.items())[:5]
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    return ", ".join(f"{name}: {count}" for name, count in first) + more


def _show_problem(problem: Problem, files: dict[str, str]) -> None:
    colour = "red" if problem.severity == "error" else "yellow"
    out.print(f"[bold {colour}]{problem.severity}[/] {problem.kind}: ", end="")
    out.print(problem.text, markup=False)
    named = problem.details or tuple(_named(case, files) for case in problem.cases)
    for text in named[:20]:
        out.print(f"  {text}", markup=False)
    if problem.count > len(named[:20]) and named:
        out.print(f"  ... {problem.count} in all", markup=False)


def _named(case: str, files: dict[str, str]) -> str:
    place = files.get(case, "")
    if not place:
        return case
    return place if place.endswith(case) else f"{case}: {place}"
