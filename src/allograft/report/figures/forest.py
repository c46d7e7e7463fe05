"""Forest: each recipe minus the baseline on the same units, with the margin that does not matter shaded."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from markupsafe import Markup
from matplotlib.axes import Axes

from allograft.report.figures.canvas import cut
from allograft.report.figures.rows import Row, row_sheet
from allograft.report.style import INK, MUTED, PAPER, SHADE, VERDICTS
from allograft.report.words import p_value, signed, span
from allograft.study.compared import Pair, seen_from

__all__ = ["forest", "seen_from"]

_MARKS = {v.word: v for v in VERDICTS}


def forest(pairs: Sequence[Pair], *, metric: str, baseline: str, name: str, width: float) -> Markup:
    """Draw comparisons with the baseline, as `seen_from` it."""
    narrow = width < 500
    rows = [Row(pair.a, signed(pair.difference) if narrow else _beside(pair)) for pair in pairs]
    label = f"Difference of each recipe from {baseline} in {metric} with 95 % interval. " + ". ".join(
        f"{p.a}: {signed(p.difference)} ({span(*(p.ci or (None, None)))}), {p.verdict}" for p in pairs
    )
    xlabel = (
        f"difference in {metric} from {cut(baseline, 18)}"
        if narrow
        else f"difference in {metric} (right of 0: better than {baseline})"
    )
    with row_sheet(rows, width=width, xlabel=xlabel, top=22) as (page, axes):
        margins = {pair.margin for pair in pairs if pair.margin is not None}
        _limits(axes, pairs, max(margins, default=0.0))
        if margins:
            _margin(axes, max(margins))
        axes.axvline(0, color=INK, linewidth=1.2, zorder=2)
        for y, pair in enumerate(pairs):
            _draw(axes, y + (0.12 if narrow else 0.0), pair)
        return page.svg(name, label)


def _beside(pair: Pair) -> str:
    return f"{signed(pair.difference)} ({span(*(pair.ci or (None, None)))}), p {_p(pair)}"


def _p(pair: Pair) -> str:
    text = p_value(pair.p_adjusted)
    return text if text.startswith("<") else f"= {text}"


def _margin(axes: Axes, margin: float) -> None:
    """Shade what is too small to matter; the words lean inwards where 0 lies near an edge."""
    axes.axvspan(-margin, margin, color=SHADE, linewidth=0, zorder=0)
    low, high = axes.get_xlim()
    lean = "left" if -low < 0.3 * (high - low) else "right" if high < 0.3 * (high - low) else "center"
    at = {"left": -margin, "center": 0.0, "right": margin}[lean]
    axes.annotate(
        f"± {margin:g}: too small to matter", (at, 1), (0, 5), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha=lean, va="bottom", color=MUTED, fontsize=11,
    )  # fmt: skip


def _draw(axes: Axes, y: float, pair: Pair) -> None:
    mark = _MARKS[pair.verdict]
    if pair.ci is not None:
        axes.plot(pair.ci, [y, y], color=INK, linewidth=2, solid_capstyle="round", zorder=3)
    if pair.difference is not None:
        axes.plot(
            [pair.difference], [y], mark.marker, markersize=9, zorder=4, markeredgewidth=1.6,
            markerfacecolor=INK if mark.filled else PAPER, markeredgecolor=INK,
        )  # fmt: skip


def _limits(axes: Axes, pairs: Sequence[Pair], margin: float) -> None:
    ends = [v for p in pairs for v in (p.difference, *(p.ci or ())) if v is not None and isfinite(v)]
    low, high = min([*ends, -margin, -0.001]), max([*ends, margin, 0.001])
    pad = 0.08 * (high - low)
    axes.set_xlim(low - pad, high + pad)
