"""Pictures: test cases as they were segmented, drawn from the slices that runs kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from allograft.metrics import METRICS
from allograft.report.figures.contours import contours, errors, ground
from allograft.report.style import CLASS_COLOURS, ERRORS
from allograft.report.words import number
from allograft.study.slices import Slice, read_slice
from allograft.study.summary import Example, Seen, Table

__all__ = ["LEGEND", "Shown", "View", "shown_cases"]

LEGEND = tuple(ERRORS)
WORST = 4
"""Classes whose Dice is written below a picture, the worst first (ours)."""


class View(NamedTuple):
    """A case by one recipe: two drawings and what stands below.

    Args:
        recipe: its name.
        contours, errors: the drawings.
        score: of the whole case, in words.
        classes: Dice of its classes, the worst first.
    """

    recipe: str
    contours: Markup
    errors: Markup
    score: str
    classes: str


class Shown(NamedTuple):
    """A case with every view of it.

    Args:
        which: best, median or worst.
        case: its pseudonym.
        place: which slice is shown, "" for a picture.
        ground: the image that all its drawings lie on, defined once.
        classes: (name, colour) of the classes to be seen, but for the background.
        views: by recipe.
    """

    which: str
    case: str
    place: str
    ground: Markup
    classes: tuple[tuple[str, str], ...]
    views: tuple[View, ...]


def shown_cases(table: Table, name: str) -> tuple[Shown, ...]:
    """Draw the examples of a table; `name` begins the ids of its images."""
    return tuple(_shown(example, table, f"{name}-{example.which}") for example in table.examples)


def _shown(example: Example, table: Table, name: str) -> Shown:
    slices = [read_slice(seen.slice) for seen in example.seen]
    first = slices[0]
    there = sorted({int(v) for one in slices for plane in (one.truth, one.labels) for v in np.unique(plane) if v > 0})
    colours = {value: CLASS_COLOURS[(value - 1) % len(CLASS_COLOURS)] for value in there}
    named = {value: table.classes[value] if value < len(table.classes) else f"class {value}" for value in there}
    place = f"slice {first.place} of {first.of}, counted from the feet" if first.of > 1 else ""
    return Shown(
        which=example.which,
        case=example.case,
        place=place,
        ground=ground(first, name),
        classes=tuple((named[value], colours[value]) for value in there),
        views=tuple(_view(s, o, example, name, colours) for s, o in zip(example.seen, slices, strict=True)),
    )


def _view(seen: Seen, one: Slice, example: Example, name: str, colours: Mapping[int, str]) -> View:
    what = f"{example.which} case {example.case}, {seen.recipe}"
    rows = sorted(seen.dice.items(), key=lambda row: row[1])
    more = f" and {len(rows) - WORST} better ones" if len(rows) > WORST else ""
    said = ", ".join(f"{label} {number(value)}" for label, value in rows[:WORST])
    return View(
        recipe=seen.recipe,
        contours=contours(one, name, colours, what=f"Contours, {what}"),
        errors=errors(one, name, what=f"Errors, {what}"),
        score=METRICS["dice"].title + " " + number(_mean(seen.dice)),
        classes=said + more,
    )


def _mean(dice: Mapping[str, float]) -> float | None:
    return sum(dice.values()) / len(dice) if dice else None
