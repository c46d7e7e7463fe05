"""allograft evaluate: external validation of a study's winner or of one run."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from allograft.cli.console import AsJson, emit_json, err, out, progress, table
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
from allograft.core.atomic import write_text
from allograft.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from allograft.core.task import Task
    from allograft.metrics.operating_point import Rule
    from allograft.study.external_result import External, Measured, Subset

__all__ = ["evaluate"]

By = Annotated[list[str] | None, typer.Option("--by", help="Column to divide the cases by; may be repeated.")]
Scores = Annotated[
    Path | None, typer.Option("--scores", help="Of a segmentation: CSV file, a row for each case and class.")
]
Sensitivity = Annotated[
    float | None, typer.Option(min=0, max=1, help="Choose the threshold for this sensitivity on validation.")
]
Specificity = Annotated[
    float | None, typer.Option(min=0, max=1, help="Choose the threshold for this specificity on validation.")
]
MaskValues = Annotated[
    list[int] | None, typer.Option("--mask-value", help="Of each class in the mask files, in order; repeated.")
]

IN_TABLE = ("dice", "hd95")
"""Metrics of each class that fit into a terminal."""


def evaluate(
    networks: Annotated[Path, typer.Argument(metavar="DIR_OR_RUN", help="A study's folder (its winner), or a run's.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A table, folders of classes, or a MedMNIST .npz file.")],
    by: By = None,
    out_file: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
    scores_file: Scores = None,
    sensitivity: Sensitivity = None,
    specificity: Specificity = None,
    part: Annotated[str, typer.Option(help="Only the cases of this fixed split: train, val or test.")] = "",
    dataset: Annotated[str, typer.Option(help="Of a study with several data sets: whose ranking counts.")] = "",
    image: ImageColumn = None,
    label: Label = None,
    mask: Mask = None,
    mask_values: MaskValues = None,
    group: Group = None,
    site: Site = None,
    split: Split = None,
    group_pattern: GroupPattern = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing result.")] = False,
    hide_ids: HideIds = False,
    as_json: AsJson = False,
) -> None:
    """Judge networks on data they have not seen: metrics with intervals, subgroups, calibration, threshold."""
    rule = _rule(sensitivity, specificity)
    asked = Asked(data, tuple(by or ()), site, part, rule, tuple(mask_values or ()), scores_file is not None)
    for path in (out_file, scores_file):
        _require_free(path, force=force)
    columns = {"image": image, "label": label, "mask": mask, "group": group, "site": site, "split": split}
    found = _judged(networks, dataset, asked, columns, group_pattern, quiet=as_json)
    found = _hidden(found) if hide_ids else found
    _keep(found, out_file, scores_file)
    if as_json:
        emit_json(found.model_dump(mode="json"))
    else:
        _show(found, out_file)
    if found.failed:
        raise typer.Exit(1)


class Asked(NamedTuple):
    """What the user wants to know: of which data, by which columns, at which threshold."""

    data: Path
    by: tuple[str, ...]
    site: str | None
    part: str
    rule: tuple[Rule, float]
    mask_values: tuple[int, ...]
    scores: bool


def _judged(
    networks: Path, dataset: str, asked: Asked, columns: dict[str, Any], group_pattern: str | None, *, quiet: bool
) -> External:
    """Open networks and data, and judge."""
    from allograft import catalog
    from allograft.data.sniff import open_data
    from allograft.infer.ensemble import open_bundles
    from allograft.study.external import evaluate as judge
    from allograft.study.winner import choose

    chosen = choose(networks, dataset=dataset)
    predictor = open_bundles(chosen.bundles, catalog.parts)
    _require_suited(asked, predictor.task)
    classes = () if predictor.task.kind == "multilabel" else predictor.task.classes
    columns = {**columns, "label": columns["label"] or _labels(predictor.task)}
    table_columns, folders = manifest_spec(**columns, classes=classes), folder_spec(group_pattern, classes)
    if predictor.task.kind == "segmentation":
        own: dict[str, Any] = {"kind": "segmentation", "mask_values": asked.mask_values}
        table_columns, folders = table_columns.model_copy(update=own), folders.model_copy(update=own)
    cohort = open_data(asked.data, manifest=table_columns, folder=folders, check_files=False)
    if asked.part:
        cohort = cohort.where(lambda case: case.split == asked.part)
        if not len(cohort):
            msg = f'--part "{asked.part}": no case of {asked.data} is in that split. Expected train, val or test.'
            raise DataError(msg)
    with progress("images", quiet=quiet) as tick:
        return judge(chosen, predictor, cohort, by=asked.by, site=asked.site, rule=asked.rule, on_image=tick)


def _require_suited(asked: Asked, task: Task) -> None:
    """Refuse options that would do nothing for this task."""
    masks = task.kind == "segmentation"
    idle = "--scores" if asked.scores and not masks else ""
    if not masks and asked.mask_values:
        idle = "--mask-value"
    if masks and asked.rule[0] != "youden":
        idle = f"--{asked.rule[0]}"
    if idle:
        msg = f"{idle}: does nothing for these networks, which answer a {task.kind} task. Leave it out."
        raise ConfigError(msg)


def _rule(sensitivity: float | None, specificity: float | None) -> tuple[Rule, float]:
    if sensitivity is not None and specificity is not None:
        msg = "--sensitivity and --specificity: give one; a threshold can promise only one of them."
        raise ConfigError(msg)
    if sensitivity is not None:
        return "sensitivity", sensitivity
    return ("specificity", specificity) if specificity is not None else ("youden", float("nan"))


def _labels(task: Task) -> list[str] | None:
    """Return the label columns of a multi-label task, which are named for its classes."""
    return list(task.classes) if task.kind == "multilabel" else None


def _require_free(path: Path | None, *, force: bool) -> None:
    if path is not None and path.exists() and not force:
        msg = f"{path}: exists already and is not overwritten. Choose another --out, or say --force."
        raise ConfigError(msg)


def _keep(found: External, out_file: Path | None, scores_file: Path | None) -> None:
    """Write the result, and the scores of each case and class as a table."""
    if out_file is not None:
        write_text(out_file, found.model_dump_json(indent=1) + "\n")
    if scores_file is None:
        return
    text = io.StringIO()
    metrics = list(found.scores[0].values)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("case", "unit", "class", "outcome", "truth", "predicted", *metrics))
    for row in found.scores:
        values = ("" if row.values[name] is None else row.values[name] for name in metrics)
        writer.writerow((row.case, row.unit, row.name, row.outcome, row.truth, row.predicted, *values))
    write_text(scores_file, text.getvalue())


def _hidden(found: External) -> External:
    """Return the result without names: counts stay, files and ids become hashes."""
    from allograft.core.private import pseudonym, site_salt

    salt = site_salt()
    doubles = tuple(pseudonym(name, salt) for name in found.duplicates)
    warnings = tuple(
        text.replace(found.duplicates[0], doubles[0]) if found.duplicates else text for text in found.warnings
    )
    failed = ("an image could not be used",) * len(found.failed)
    scores = tuple(
        row.model_copy(update={"case": pseudonym(row.case, salt), "unit": pseudonym(row.unit, salt)})
        for row in found.scores
    )
    return found.model_copy(update={"duplicates": doubles, "failed": failed, "warnings": warnings, "scores": scores})


def _show(found: External, file: Path | None) -> None:
    out.print(found.networks, markup=False)
    for text in found.warnings:
        out.print(f"warning: {text}", markup=False)
    for subset in (found.whole, *found.subsets):
        _show_subset(subset, found)
    if found.by_class:
        _show_classes(found)
    for point in found.operating:
        said = "Youden" if point.target is None else f"{point.rule} {point.target:g}"
        title = f"{point.label} from {point.threshold:.4f} on ({said} on {point.validation_cases} validation cases)"
        rows = [
            (r.name, _number(r.value), _span(r.low, r.high), r.method, r.of, _number(point.on_validation[r.name]))
            for r in point.rates
        ]
        table(title, ("rate", "here", "95% interval", "method", "of", "validation"), rows)
    for one in found.calibration:
        rows2 = [(f"{b.low:.1f} to {b.high:.1f}", b.cases, _number(b.confidence), _number(b.right)) for b in one.bins]
        table(f"calibration: {one.label or 'most probable class'}", ("bin", "cases", "said", "true"), rows2)
    for text in found.failed[:20]:
        err.print(f"not used: {text}", markup=False)
    if file is not None:
        out.print(f"result: {file}", markup=False)


def _show_subset(subset: Subset, found: External) -> None:
    where = f"{subset.column} = {subset.value}" if subset.column else found.data
    title = f"{where}: {subset.cases} cases, {subset.units} {found.unit}(s)" + (f"; {subset.note}" * bool(subset.note))
    rows = [(m.title, _number(m.value), _span(m.low, m.high), m.method) for m in subset.metrics]
    table(title, ("metric", "value", "95% interval", "method"), rows)


def _show_classes(found: External) -> None:
    """Show of each class how often it was there, missed and falsely alarmed, and how well it was met."""
    shown = [metric for metric in found.by_class[0].metrics if metric.metric in IN_TABLE]
    rows = [
        (
            *(one.name, one.present, one.missed, one.false_alarms, one.absent),
            *(_spread(metric) for metric in one.metrics if metric.metric in IN_TABLE),
        )
        for one in found.by_class
    ]
    title = "by class (--out and --scores hold every metric)"
    table(title, ("class", "present", "missed", "false alarms", "absent", *(m.metric for m in shown)), rows)


def _spread(metric: Measured) -> str:
    span = _span(metric.low, metric.high)
    return _number(metric.value) + ("" if span == "-" else f" ({span})")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _span(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
