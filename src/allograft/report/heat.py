"""Heat: test cases side by side, each recipe with where its network looked."""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup

from allograft.report.figures.heat import glow
from allograft.report.words import percent
from allograft.study.heat import Heat, read_heat
from allograft.study.summary import Table

__all__ = ["Gaze", "attention_words", "gazes"]

TOLD = 3
"""Slices or tiles that are named, those with most attention (ours)."""


class Gaze(NamedTuple):
    """One test case.

    Args:
        case: its pseudonym.
        place: which slice is shown, "" for a picture.
        asked: the class that the maps are about.
        views: (recipe, drawing, what it said) of each recipe.
        missing: recipes of the table that have no map.
    """

    case: str
    place: str
    asked: str
    views: tuple[tuple[str, Markup, str], ...]
    missing: tuple[str, ...]


def gazes(table: Table) -> tuple[Gaze, ...]:
    """Draw the maps of a table, a case after the other, recipes in the table's order."""
    found, there = [], {one.recipe for one in table.looked}
    missing = tuple(recipe.name for recipe in table.recipes if recipe.name not in there)
    for case in dict.fromkeys(one.case for one in table.looked):
        maps = [(one.recipe, read_heat(one.file)) for one in table.looked if one.case == case]
        first = maps[0][1]
        views = []
        for recipe, one in maps:
            words = attention_words(one)
            what = f"Where {recipe} finds {table.classes[one.asked]} in case {case}"
            what = f"How {recipe} weighs case {case}: {words}" if words else what
            said = f"says {table.classes[one.said]}, {percent(one.sure)}" + (f"; attention: {words}" if words else "")
            views.append((recipe, glow(one, what=what), said))
        places = {f"slice {one.place} of {one.of}" for _, one in maps if one.of > 1}
        place = places.pop() if len(places) == 1 else ""  # attention shows each network's own slice, named beside it
        found.append(Gaze(case, place, table.classes[first.asked], tuple(views), missing))
    return tuple(found)


def attention_words(one: Heat) -> str:
    """Say which slices or tiles weigh most, "" where the heat is no attention.

    >>> import numpy as np
    >>> plain = Heat(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 0, 0, 0.5, 1, 1)
    >>> attention_words(plain._replace(shares=np.array([0.1, 0.2, 0.3, 0.4]), grid=(2, 2)))
    '40 % row 2 column 2, 30 % row 2 column 1, 20 % row 1 column 2, of 2 x 2 tiles'
    """
    if not len(one.shares):
        return ""
    best = sorted(range(len(one.shares)), key=lambda k: (-one.shares[k], k))[:TOLD]
    said = ", ".join(f"{percent(float(one.shares[k]))} {_place(k, one.grid)}" for k in best)
    return f"{said}, of {' x '.join(map(str, one.grid))} {'slices' if len(one.grid) == 1 else 'tiles'}"


def _place(k: int, grid: tuple[int, ...]) -> str:
    """Name an instance by its place in the grid, counted from 1."""
    names = {1: ("slice",), 2: ("row", "column"), 3: ("layer", "row", "column")}[len(grid)]
    places = []
    for size in reversed(grid):
        places.append(k % size + 1)
        k //= size
    return " ".join(f"{name} {place}" for name, place in zip(names, reversed(places), strict=True))
