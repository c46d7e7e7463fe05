"""Heat map: values from 0 to 1 as depth of one colour, each written into its cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from allograft.report.figures.canvas import cut, sheet, text_width
from allograft.report.style import HEAT, INK, MUTED

__all__ = ["heatmap"]

_CELL, _ROW = 40.0, 28.0

Cells = Mapping[tuple[str, str], float | None]


def heatmap(rows: Sequence[str], columns: Sequence[str], cells: Cells, *, what: str, name: str) -> Markup:
    """Draw cells by (row, column); absent cells say so by a dot.

    The colour lies over the page with an opacity that follows the value, so it works on light and dark.
    """
    row_names, column_names = [cut(r, 18) for r in rows], [cut(c, 18) for c in columns]
    left = 18 + max(text_width(r, 11.5) for r in row_names)
    top = 16 + 0.72 * max(text_width(c, 11.5) for c in column_names)
    tail = 0.72 * text_width(column_names[-1], 11.5)
    label = f"{what}. " + ". ".join(
        f"{r}: " + ", ".join(f"{c} {v:.2f}" for c in columns if (v := cells.get((r, c))) is not None) for r in rows
    )
    with sheet(left + _CELL * len(columns) + max(8.0, tail - 10), top + _ROW * len(rows) + 6) as page:
        axes = page.axes(left=left, right=max(8.0, tail - 10), top=top, bottom=6)
        axes.set_axis_off()
        axes.set_xlim(0, len(columns))
        axes.set_ylim(len(rows), 0)
        for y, r in enumerate(rows):
            axes.annotate(
                row_names[y],
                (0, y + 0.5),
                (-8, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                color=INK,
                fontsize=11.5,
            )
            for x, c in enumerate(columns):
                _cell(axes, x, y, cells.get((r, c)))
        for x, c in enumerate(column_names):
            axes.annotate(
                c, (x + 0.4, 0), (0, 7), textcoords="offset points", rotation=40, rotation_mode="anchor",
                ha="left", va="baseline", color=MUTED, fontsize=11.5,
            )  # fmt: skip
        return page.svg(name, label)


def _cell(axes: Axes, x: int, y: int, value: float | None) -> None:
    depth = 0.0 if value is None else 0.62 * min(1.0, max(0.0, value))
    axes.add_patch(Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, facecolor=HEAT, alpha=max(depth, 0.02), linewidth=0))
    text = "·" if value is None else f"{value:.2f}"
    axes.text(x + 0.5, y + 0.52, text, ha="center", va="center", fontsize=11.5, color=INK)
