"""Pointing: how much of the networks' heat lies inside a mask, by recipe and source, as tables."""

from __future__ import annotations

from allograft.report.tables import Cell, Column, Grid, pair_table
from allograft.report.words import counted, number, percent, span
from allograft.study.pointed import Pointing
from allograft.study.summary import Table

__all__ = ["pointing_tables"]


def pointing_tables(table: Table) -> tuple[tuple[Pointing, Grid, Grid | None], ...]:
    """Each kind of mask with its recipes, most heat inside first, and every pair of recipes."""
    return tuple((one, _shares(table, one), _pairs(one)) for one in table.pointing if one.n_cases)


def _shares(table: Table, one: Pointing) -> Grid:
    source = {r.name: r.source or "none" for r in table.recipes}
    order = sorted(one.shares, key=lambda name: -(one.shares[name].mean or 0.0))
    rows = tuple(
        (
            Cell(name),
            Cell(source[name]),
            Cell(number(mean := one.shares[name].mean), mean, below=span(one.shares[name].low, one.shares[name].high)),
            Cell("–" if (hit := one.hits[name]) is None else percent(hit), hit),
            Cell(str(one.without_heat[name]), one.without_heat[name]),
        )
        for name in order
    )
    columns = (
        Column("recipe"),
        Column("weights"),
        Column("share of heat inside", True, "95 % interval below"),
        Column("hottest place inside", True, "the pointing game"),
        Column("cases without heat", True, "nothing speaks for their class; left out of this row and its pairs"),
    )
    area = "" if one.area is None else f"; {one.head} covers {percent(one.area)} of these images"
    cases, units = counted(one.n_cases, "test case"), counted(one.n_units, one.unit)
    return Grid(f"Grad-CAM and {one.head}, over {units}, {cases}{area}", columns, rows)


def _pairs(one: Pointing) -> Grid | None:
    return pair_table(one.pairs, caption=f"share of heat inside {one.head}") if one.pairs else None
