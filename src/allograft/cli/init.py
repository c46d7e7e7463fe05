"""allograft init: look at data and write a commented study that suits them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allograft.cli.console import AsJson, emit_json, err
from allograft.cli.data_options import (
    Group,
    GroupPattern,
    ImageColumn,
    Label,
    Mask,
    Site,
    Split,
    folder_spec,
    manifest_spec,
)
from allograft.core.atomic import write_text
from allograft.core.errors import ConfigError

if TYPE_CHECKING:
    from allograft.data.cohort import Cohort
    from allograft.study.estimate import Estimate
    from allograft.study.propose import Proposal
    from allograft.study.survey import Survey

__all__ = ["init"]


def init(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A table, folders of classes, or a MedMNIST .npz file.")],
    out_file: Annotated[Path | None, typer.Option("--out", help="The study file; by default standard output.")] = None,
    image: ImageColumn = None,
    label: Label = None,
    mask: Mask = None,
    group: Group = None,
    site: Site = None,
    split: Split = None,
    group_pattern: GroupPattern = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a study for these data, with recipes that suit them and an estimate of the time it takes."""
    from allograft.data.sniff import open_data
    from allograft.study.propose import propose
    from allograft.study.survey import survey
    from allograft.study.write_study import study_text

    if out_file is not None and out_file.exists() and not force:
        msg = f"{out_file}: exists already and is not overwritten. Choose another --out, or say --force."
        raise ConfigError(msg)
    columns = manifest_spec(image=image, label=label, mask=mask, group=group, site=site, split=split)
    cohort = open_data(data, manifest=columns, folder=folder_spec(group_pattern), check_files=False)
    found = survey(cohort)
    given = {"image": image, "label": label, "mask": mask, "group": group, "domain": site, "split": split}
    proposal = propose(found, {**_entry(data, out_file), **_columns(given), **_pattern(group_pattern)})
    took = _estimate(proposal, cohort, found)
    _say(proposal, took)
    text = study_text(proposal, _header(proposal, took, out_file))
    if as_json:
        facts = {"study": proposal.study, "notes": list(proposal.notes), "estimate": took.model_dump(mode="json")}
        emit_json({**facts, "survey": found.model_dump(mode="json"), "yaml": text})
    if out_file is not None:
        write_text(out_file, text)
        err.print(f"written: {out_file}; next: allograft plan {out_file}", markup=False)
    elif not as_json:
        sys.stdout.write(text)


def _say(proposal: Proposal, took: Estimate) -> None:
    """Write what the user should know first: notes, time, licences of the weights that are proposed."""
    from allograft.study.grid import study_from
    from allograft.study.provenance import licence_lines

    licences = licence_lines(study_from(proposal.study, where="the proposed study"), Path())
    for note in (*proposal.notes, f"the whole study takes {took.words} here", *licences):
        err.print(f"note: {note}", markup=False)


def _entry(data: Path, out_file: Path | None) -> dict[str, Any]:
    """Return the data set's name and path: relative where the study file lies above the data."""
    from allograft.study.propose import file_name

    place = data.resolve()
    if out_file is not None and place.is_relative_to(out_file.resolve().parent):
        place = place.relative_to(out_file.resolve().parent)
    return {"name": file_name(data.resolve().stem), "path": place.as_posix()}


def _columns(given: dict[str, list[str] | str | None]) -> dict[str, Any]:
    """Return the columns that the user named, as a study file names them."""
    shown = {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in given.items()}
    return {name: value for name, value in shown.items() if value}


def _pattern(group_pattern: str | None) -> dict[str, str]:
    return {"group_pattern": group_pattern} if group_pattern else {}


def _estimate(proposal: Proposal, cohort: Cohort, found: Survey) -> Estimate:
    """Check the study and measure its networks; the file that is written has been read."""
    from allograft.study.estimate import Load, estimate
    from allograft.study.grid import study_from
    from allograft.study.prepared import processors
    from allograft.study.propose_masks import windows_of

    study = study_from(proposal.study, where="the proposed study")
    folds = study.folds if study.folds and not found.fixed_split else 1
    channels = study.preprocess.channels or found.channels[0]
    parts = {"val", "test"} & set(found.fixed_split)
    judged = sum(case.split in parts for case in cohort) if parts else 2 * found.labelled // max(3, folds)
    whole = {"judged": judged, "cases": found.cases, "folds": folds}
    if study.patches is not None:
        size, overlap = study.patches.size, study.patches.overlap
        load = Load(**whole, shape=(channels, *size), windows=windows_of(found.size, size, overlap))
    else:
        assert study.preprocess.size is not None, "proposals of whole images name a size"
        load = Load(**whole, shape=(channels, *study.preprocess.size))
    return estimate(study, cohort.task, load, workers=processors())


def _header(proposal: Proposal, took: Estimate, out_file: Path | None) -> list[str]:
    name = str(out_file) if out_file is not None else "study.yaml"
    return [
        f"Written by allograft init. Look at it, then: allograft audit {name}; allograft plan {name}; "
        f"allograft study {name} --out results",
        *proposal.notes,
        f"Time: {took.words} on this machine for {took.runs} runs with {took.workers} workers (a few steps were "
        "measured on random images). allograft study --budget 30m stops fairly, after whole seeds.",
        "Seconds of a run: " + ", ".join(f"{recipe} {seconds:g}" for recipe, seconds in took.per_run.items()),
    ]
