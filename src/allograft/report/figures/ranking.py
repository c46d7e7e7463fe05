"""Ranking: recipes by their mean, with intervals, and each seed as a small dot."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup
from matplotlib.axes import Axes

from allograft.report.figures.rows import Row, row_sheet
from allograft.report.style import INK, MUTED, PAPER, Look
from allograft.report.words import interval, number
from allograft.study.summary import Ranked, Table

__all__ = ["ranking"]


def ranking(table: Table, looks: Mapping[str, Look], *, metric: str, baseline: str, name: str, width: float) -> Markup:
    """Draw one table's recipes; the dashed line is the baseline's mean."""
    narrow = width < 500
    rows = [Row(r.name, number(r.estimate.mean) if narrow else interval(r.estimate)) for r in table.recipes]
    label = f"{metric} of each recipe with 95 % interval. " + ". ".join(
        f"{r.name}: {interval(r.estimate)}" for r in table.recipes
    )
    with row_sheet(rows, width=width, xlabel=metric) as (page, axes):
        for r in table.recipes:
            if r.name == baseline and r.estimate.mean is not None:
                axes.axvline(r.estimate.mean, color=MUTED, linewidth=1, dashes=(3, 3), zorder=1)
        shift = 0.12 if narrow else 0.0
        for y, r in enumerate(table.recipes):
            _draw(axes, y + shift, r, looks[r.name])
        _room(axes, table)
        return page.svg(name, label)


def _draw(axes: Axes, y: float, r: Ranked, look: Look) -> None:
    e = r.estimate
    if e.low is not None and e.high is not None:
        axes.plot([e.low, e.high], [y, y], color=look.colour, linewidth=2.4, solid_capstyle="round", zorder=3)
    for value in r.by_seed.values():
        axes.plot(
            [value], [y + 0.24], "o", markersize=4.5, markerfacecolor="none", markeredgecolor=INK, alpha=0.75, zorder=2
        )
    if e.mean is not None:
        axes.plot(
            [e.mean], [y], look.marker, color=look.colour, markersize=9.5, markeredgecolor=PAPER,
            markeredgewidth=1.2, zorder=4,
        )  # fmt: skip


def _room(axes: Axes, table: Table) -> None:
    """Leave a little room beside the outermost values."""
    estimates = [r.estimate for r in table.recipes]
    ends = [v for e in estimates for v in (e.mean, e.low, e.high) if v is not None]
    ends += [v for r in table.recipes for v in r.by_seed.values()]
    if not ends:
        axes.set_xlim(0, 1)
        return
    low, high = min(ends), max(ends)
    pad = 0.06 * (high - low) or 0.05
    axes.set_xlim(low - pad, high + pad)
