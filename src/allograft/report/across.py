"""Across: what the page shows of a shift between domains: gap and shares, scores by domain, feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from markupsafe import Markup

from allograft.report.figures.feature_map import MARKS, Style, Time, feature_map
from allograft.report.figures.recovered import recovered
from allograft.report.figures.rows import both
from allograft.report.figures.swatch import mark_swatch
from allograft.report.style import INK
from allograft.report.tables import Cell, Column, Grid
from allograft.report.words import begin, counted, number, p_value, percent, share, signed, span
from allograft.study.compared import Estimate
from allograft.study.domain_gap import LeftOut, Mapped, Recovered, Shifted
from allograft.study.feature_map import FeatureMap, read_map
from allograft.study.summary import Summary, Table

__all__ = ["Across", "Maps", "across", "left_out_tables"]

MOST = 6
"""Recipes of which feature maps are shown; numbers of all stand in the table (ours)."""


class Maps(NamedTuple):
    """Feature maps with what their colours and marks mean.

    Args:
        drawn: by recipe the map before and after training, with its text.
        domains: names with swatches.
        labels: classes with swatches; none where cases have no single class.
        numbers: how far apart source and target lie, of all recipes.
    """

    drawn: tuple[tuple[str, tuple[tuple[str, Markup], ...]], ...]
    domains: tuple[tuple[str, Markup], ...]
    labels: tuple[tuple[str, Markup], ...]
    numbers: Grid


class Across(NamedTuple):
    """The section of one table.

    Args:
        shifted: the finding.
        figure: shares with intervals, None where none is given.
        gap: from source-only to target-supervised, with every method between.
        domains: scores by domain, None where runs do not say the domain of their cases.
        maps: None where no run has kept features; without drawings where their files are gone.
    """

    shifted: Shifted
    figure: Mapping[str, Markup] | None
    gap: Grid
    domains: Grid | None
    maps: Maps | None


def across(table: Table, summary: Summary, key: str) -> Across | None:
    """Return what is shown of a table's shift, None where it has none."""
    shifted = table.shift
    if shifted is None:
        return None
    shown = [row for row in shifted.recovered if row.share is not None]
    draw = partial(recovered, shown, shifted)
    return Across(
        shifted=shifted,
        figure=both(lambda width: draw(name=f"{key}-gap-{width:.0f}", width=width)) if shown else None,
        gap=_gap_table(table, shifted, summary.metric_title),
        domains=_domain_table(table, shifted, summary.metric_title) if shifted.domains else None,
        maps=_maps(shifted, [r.name for r in table.recipes], key) if shifted.maps else None,
    )


def _gap_table(table: Table, shifted: Shifted, metric: str) -> Grid:
    """Source-only, every method, and the upper bound, on the target's test cases."""
    scores = {r.name: r.estimate for r in table.recipes}
    rows = []
    for name, mark in ((shifted.target_supervised, "target-supervised"), (shifted.source_only, "source-only")):
        if name is not None and name in scores:
            gap = shifted.gap if mark == "target-supervised" else None
            rows.append(_gap_row(name, scores[name], gap, shifted.selections.get(name, ""), mark))
    between = [_recovered_row(row, scores[row.recipe], shifted) for row in shifted.recovered if row.recipe in scores]
    columns = (
        Column("recipe"),
        Column(metric, True, "on the target's test cases (95 % interval)"),
        Column("against source-only", True, "above 0: better than source-only (95 % interval)"),
        Column("share of the gap", True, "0 % is source-only, 100 % target-supervised; 95 % interval of Fieller"),
        Column("verdict", False, "against source-only"),
        Column("Holm p", True, "against source-only, corrected for all comparisons of the table"),
        Column("learns from labels of", False, "below: what chose weights and rates, and whose labels that needed"),
    )
    units = counted(table.n_units, table.unit)
    return Grid(f"what is recovered on {', '.join(shifted.target)}, {units}", columns, (*rows[:1], *between, *rows[1:]))


def _gap_row(name: str, score: Estimate, gap: Estimate | None, selection: str, mark: str) -> tuple[Cell, ...]:
    labels = "target, all" if mark == "target-supervised" else "source"
    change = Cell("–") if gap is None else Cell(signed(gap.mean), gap.mean, below=span(gap.low, gap.high))
    whole = Cell("100 %", 1.0) if mark == "target-supervised" else Cell("0 %", 0.0)
    return (
        Cell(name, mark=mark),
        Cell(number(score.mean), score.mean, below=span(score.low, score.high)),
        change,
        whole,
        Cell("–"),
        Cell("–"),
        Cell(labels, below=selection),
    )


def _recovered_row(row: Recovered, score: Estimate, shifted: Shifted) -> tuple[Cell, ...]:
    part = Cell("no share", below="the gap is not shown" if not shifted.gap_shown else "its error is unknown")
    if row.verdict == "cannot tell":
        part = Cell("cannot tell")
    elif row.share is not None:
        ends = "" if row.low is None or row.high is None else f"{share(row.low)} to {share(row.high)}"
        part = Cell(share(row.share), row.share, below=ends)
    return (
        Cell(row.recipe),
        Cell(number(score.mean), score.mean, below=span(score.low, score.high)),
        Cell(signed(row.gain.mean), row.gain.mean, below=span(row.gain.low, row.gain.high)),
        part,
        Cell("", verdict=row.verdict),
        Cell(p_value(row.p_adjusted), row.p_adjusted),
        Cell(row.labels, below=row.selection),
    )


def _domain_table(table: Table, shifted: Shifted, metric: str) -> Grid:
    """Recipes by domain."""
    columns = [
        Column(f"{d.name} ({d.side})", True, f"{counted(d.n_units, table.unit)}, {counted(d.n_cases, 'test case')}")
        for d in shifted.domains
    ]
    rows = []
    for r in table.recipes:
        found = [d.estimates.get(r.name, Estimate(mean=None)) for d in shifted.domains]
        rows.append((Cell(r.name), *(Cell(number(e.mean), e.mean, below=_ends(e)) for e in found)))
    sizes = ", ".join(f"{d.name} {counted(d.n_units, table.unit)}" for d in shifted.domains)
    return Grid(f"{metric} by domain; {sizes}", (Column("recipe"), *columns), tuple(rows))


def _ends(one: Estimate) -> str:
    return "" if one.low is None or one.high is None else span(one.low, one.high)


def _maps(shifted: Shifted, order: list[str], key: str) -> Maps:
    """Draw the maps of the recipes that matter most: the two references, then the largest gains."""
    found = {one.recipe: one for one in shifted.maps}
    first = [n for n in (shifted.source_only, shifted.target_supervised) if n is not None]
    chosen = [n for n in dict.fromkeys([*first, *(r.recipe for r in shifted.recovered), *order]) if n in found][:MOST]
    points = {name: read_map(found[name].file) for name in chosen if found[name].file.exists()}
    style = Style.of(points.values(), shifted.source, shifted.target)
    return Maps(
        drawn=tuple(
            (name, tuple(_pair(found[name], one, style, f"{key}-map{i}")))
            for i, (name, one) in enumerate(points.items())
        ),
        domains=tuple((name, _swatch(style, name)) for name in style.domains),
        labels=tuple((name, mark_swatch(style.mark(name), INK, INK)) for name in style.labels),
        numbers=_numbers([found[n] for n in dict.fromkeys([*chosen, *found])]),
    )


def _swatch(style: Style, domain: str) -> Markup:
    """Draw a domain's mark: hollow for a source."""
    colour = style.colour(domain)
    return mark_swatch(MARKS[0], colour if domain in style.targets else "none", colour)


def _pair(one: Mapped, points: FeatureMap, style: Style, name: str) -> list[tuple[str, Markup]]:
    drawn = []
    numbers: tuple[tuple[Time, float | None, float | None], ...] = (
        ("before", one.told_before, one.mmd_before),
        ("after", one.told_after, one.mmd_after),
    )
    for time, told, mmd in numbers:
        text = f"{time} training: told apart {percent(told)}, MMD² {number(mmd)}"
        drawn.append((text, feature_map(points, time, style, name=f"{name}-{time}", what=f"{one.recipe}, {text}")))
    return drawn


def _numbers(maps: list[Mapped]) -> Grid:
    columns = (
        Column("recipe"),
        Column("told apart before", True, "balanced accuracy of a linear source-target classifier; 50 % is chance"),
        Column("after", True, "the same after training"),
        Column("MMD² before", True, "unbiased, five Gaussian kernels around the median distance; 0 is none"),
        Column("after", True, "the same after training"),
    )
    rows = tuple(
        (
            Cell(m.recipe),
            Cell(percent(m.told_before), m.told_before),
            Cell(percent(m.told_after), m.told_after),
            Cell(number(m.mmd_before), m.mmd_before),
            Cell(number(m.mmd_after), m.mmd_after),
        )
        for m in maps
    )
    return Grid("how far source and target lie apart in the deepest features", columns, rows)


def left_out_tables(summary: Summary) -> tuple[tuple[LeftOut, Grid], ...]:
    """Return each data set of which domains were left out in turn, with recipes by domain."""
    return tuple((one, _left_out(one, summary.metric_title)) for one in summary.left_out)


def _left_out(one: LeftOut, metric: str) -> Grid:
    columns = [
        Column("recipe"),
        Column("mean over domains", True, "every domain weighs the same"),
        *(Column(f"to {domain}", True, "target; all other domains gave the labels") for domain in one.domains),
    ]
    if one.source_only is not None:
        columns.append(Column(f"better than {one.source_only} in", True, "domains, by its score alone"))
    if one.shares:
        columns.append(Column("share of the mean gap", True, "domains as units, 95 % interval of Fieller"))
    rows = []
    for name, values in one.values.items():
        cells = [Cell(name, mark="source-only" if name == one.source_only else "")]
        cells.append(Cell(number(one.means[name]), one.means[name]))
        cells += [Cell(number(values[domain]), values[domain]) for domain in one.domains]
        if one.source_only is not None:
            n = one.better.get(name)
            cells.append(Cell("–") if n is None else Cell(f"{n} of {len(one.domains)}", n))
        if one.shares:
            part = one.shares.get(name)
            ends = "" if part is None else f"{share(part[1])} to {share(part[2])}"
            cells.append(Cell("–") if part is None else Cell(share(part[0]), part[0], below=ends))
        rows.append(tuple(cells))
    return Grid(f"{begin(metric)}, each domain left out in turn", tuple(columns), tuple(rows))
