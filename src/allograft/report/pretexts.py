"""Pretexts: what a report shows of stages that read no labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from markupsafe import Markup

from allograft.report.figures.monitors import monitors
from allograft.report.figures.plates import greys, plate
from allograft.report.figures.rows import both
from allograft.report.figures.swatch import recipe_swatch
from allograft.report.style import Look
from allograft.report.tables import Cell, Column, Grid
from allograft.report.words import NONE, counted, number, percent, span
from allograft.study.compared import Estimate
from allograft.study.pretext_stage import COLLAPSED, PretextStage, read_pictures

__all__ = ["Plates", "Trained", "pretext_table", "pretexts", "trained"]

SHOWN = 3
"""Images of a recipe that are drawn (ours)."""
COLUMNS = (
    Column("pretext task", False, "learnt: better than chance and than before the first step, both intervals above 0"),
    Column("above chance", True, "the measure that decides, less chance; with its 95 % t interval over test folds"),
    Column("loss", True, "on held-out images; of restorations beside that of a trivial guess"),
    Column("right answers", True, "to the task's own questions, on held-out images"),
    Column(
        "views found",
        True,
        "share of held-out views whose nearest view, by cosine of pooled features, is the other one of their image; "
        "other images of the same patient are not asked",
    ),
    Column("spread", True, f"of features: near 1 all directions are used; below {COLLAPSED:g} (ours) collapsed"),
    Column("kNN", True, "balanced accuracy of the 5 nearest cases of other patients, by frozen features"),
    Column("probe", True, "balanced accuracy of a linear classifier of frozen features, judged by other patients"),
    Column("alignment", True, "mean squared distance of the features of two views"),
    Column("uniformity", True, "lower is more even"),
)
Plates = tuple[tuple[tuple[str, Markup], ...], ...]
"""Images, each with what stands side by side: (what it is, drawing)."""


class Trained(NamedTuple):
    """One recipe's stage: its words, figure, and pictures."""

    recipe: str
    title: str
    swatch: Markup
    sentences: tuple[str, ...]
    drawn: Mapping[str, Markup]
    plates: Plates


def pretexts(stages: Sequence[PretextStage], looks: Mapping[str, Look]) -> list[tuple[str, Grid, tuple[Trained, ...]]]:
    """Return by data set its name, the table of last values, and each recipe."""
    found = []
    for i, dataset in enumerate(dict.fromkeys(stage.dataset for stage in stages)):
        here = [stage for stage in stages if stage.dataset == dataset]
        each = (trained(stage, looks[stage.recipe], f"pretext{i}-{k}") for k, stage in enumerate(here))
        found.append((dataset, pretext_table(here), tuple(each)))
    return found


def trained(stage: PretextStage, look: Look, name: str) -> Trained:
    """Return what is shown of one stage; `name` begins the ids of its drawings."""
    runs = f"{stage.task or stage.stage}, {counted(stage.runs, 'run')} of {counted(stage.folds, 'test fold')}"
    return Trained(
        recipe=stage.recipe,
        title=runs,
        swatch=recipe_swatch(look),
        sentences=stage.sentences,
        drawn=both(partial(_draw, stage, look, name)),
        plates=_plates(stage),
    )


def _draw(stage: PretextStage, look: Look, name: str, width: float) -> Markup:
    return monitors(stage, look, name=f"{name}-{width:.0f}", width=width)


def _plates(stage: PretextStage) -> Plates:
    """Draw the first images of the file, none where pictures are left out."""
    if stage.pictures is None:
        return ()
    planes = read_pictures(stage.pictures)
    rows = []
    for i in range(min(SHOWN, *map(len, planes.values()))):
        row = greys({name: each[i] for name, each in planes.items()})
        rows.append(tuple((name, plate(x, what=f"{stage.recipe}, image {i + 1}: {name}")) for name, x in row.items()))
    return tuple(rows)


def pretext_table(stages: Sequence[PretextStage]) -> Grid:
    """Return the values after the last step, means over runs; columns that nobody has are left out."""
    cells = [_cells(stage) for stage in stages]
    kept = [i for i in range(len(COLUMNS)) if any(row[i].text != NONE for row in cells)]
    names = [Cell(s.recipe, below=f"{counted(s.runs, 'run')}, {counted(s.folds, 'fold')}") for s in stages]
    rows = tuple((name, *(row[i] for i in kept)) for name, row in zip(names, cells, strict=True))
    columns = (Column("recipe"), *(COLUMNS[i] for i in kept))
    return Grid("after the last step without labels, means over runs", columns, rows)


def _cells(stage: PretextStage) -> tuple[Cell, ...]:
    """Return a stage's row, a cell for each of `COLUMNS`."""
    return (
        Cell(stage.told, below=stage.task),
        _estimate(stage.score, stage.measure),
        _value(stage, "held_out_loss", "guess", "guess"),
        _value(stage, "held_out_accuracy", "held_out_chance", "chance"),
        _value(stage, "retrieval", "retrieval_chance", "chance"),
        _spread(stage),
        _value(stage, "knn", first=True),
        _value(stage, "probe", first=True),
        _value(stage, "alignment"),
        _value(stage, "uniformity"),
    )


def _value(stage: PretextStage, name: str, against: str = "", word: str = "", *, first: bool = False) -> Cell:
    """Return the last value, and below it what it is to be seen against, or what it was at first."""
    value = stage.last(name)
    if value is None:
        return Cell(NONE)
    below = f"{word} {number(stage.last(against))}" if against and stage.last(against) is not None else ""
    return Cell(number(value), value, below=f"at first {number(stage.lines[name].mean[0])}" if first else below)


def _spread(stage: PretextStage) -> Cell:
    found = _value(stage, "spread", first=True)
    bad = f"collapsed in {stage.collapsed} of {counted(stage.runs, 'run')}" if stage.collapsed else ""
    return found._replace(below=bad or found.below)


def _estimate(found: Estimate | None, measure: str) -> Cell:
    if found is None or found.mean is None:
        return Cell(NONE)
    text = percent(found.mean) if measure == "restored" and found.mean >= 0 else number(found.mean)
    return Cell(text, found.mean, below=span(found.low, found.high) if found.low is not None else "too few folds")
