"""Recovered: the share of the gap between source-only and target-supervised training that each method recovers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from allograft.report.figures.canvas import cut, text_width
from allograft.report.figures.rows import Row, row_sheet
from allograft.report.style import INK, MUTED, PAPER, SHADE, VERDICTS, WORSE
from allograft.report.words import share
from allograft.study.domain_gap import Recovered, Shifted

__all__ = ["recovered"]

LOW, HIGH = -1.5, 2.5
"""Shares outside are cut off with an arrow: an interval of Fieller may be very long."""
LEAST = 6
"""Letters of a reference's name below which the figure leaves it out: the table has it (ours)."""
_MARKS = {v.word: v for v in (*VERDICTS, WORSE)}


def recovered(rows: Sequence[Recovered], shifted: Shifted, *, name: str, width: float) -> Markup:
    """Draw shares with 95 % intervals between the two references, as lines at 0 and 100 %."""
    narrow = width < 500
    label = (
        f"Share of the gap from {shifted.source_only} (0 %) to {shifted.target_supervised} (100 %) that each recipe "
        "recovers, with 95 % interval. " + ". ".join(f"{r.recipe}: {_said(r)}, {r.verdict}" for r in rows)
    )
    xlabel = "share of the gap" if narrow else "share of the gap (0 %: source-only, 100 %: target-supervised)"
    lines = [Row(r.recipe, share(r.share or 0.0) if narrow else _said(r)) for r in rows]
    with row_sheet(lines, width=width, xlabel=xlabel, top=24) as (page, axes):
        ends = [v for r in rows for v in (r.share, r.low, r.high) if v is not None]
        low, high = max(LOW, min([*ends, 0.0])), min(HIGH, max([*ends, 1.0]))
        axes.set_xlim(floor(10 * low - 0.5) / 10, ceil(10 * high + 0.5) / 10)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: share(x)))
        axes.axvspan(0, 1, color=SHADE, linewidth=0, zorder=0)
        # The names of both references share the room between their lines.
        between = width * axes.get_position().width / (axes.get_xlim()[1] - axes.get_xlim()[0])
        most = int(between / 2 / text_width("x", 11))
        for at, reference in ((0.0, shifted.source_only), (1.0, shifted.target_supervised)):
            _reference(axes, at, cut(reference or "", most) if most >= LEAST else "")
        for y, row in enumerate(rows):
            _draw(axes, y + (0.12 if narrow else 0.0), row)
        return page.svg(name, label)


def _reference(axes: Axes, at: float, name: str) -> None:
    axes.axvline(at, color=INK, linewidth=1.2, zorder=2)
    axes.annotate(
        name, (at, 1), (0, 5), xycoords=("data", "axes fraction"), textcoords="offset points", va="bottom",
        ha="left" if at == 0 else "right", color=MUTED, fontsize=11,
    )  # fmt: skip


def _draw(axes: Axes, y: float, row: Recovered) -> None:
    mark, (low, high) = _MARKS[row.verdict], axes.get_xlim()
    if row.low is not None and row.high is not None:
        axes.plot([max(low, row.low), min(high, row.high)], [y, y], color=INK, linewidth=2, zorder=3)
        for beyond, at, arrow in ((row.low < low, low, "<"), (row.high > high, high, ">")):
            if beyond:
                axes.plot([at], [y], arrow, color=INK, markersize=7, zorder=4, clip_on=False)
    if row.share is not None and low <= row.share <= high:
        axes.plot(
            [row.share], [y], mark.marker, markersize=9, zorder=5, markeredgewidth=1.6, markeredgecolor=INK,
            markerfacecolor=INK if mark.filled else PAPER,
        )  # fmt: skip


def _said(row: Recovered) -> str:
    value = share(row.share or 0.0)
    return value if row.low is None or row.high is None else f"{value} ({share(row.low)} to {share(row.high)})"
