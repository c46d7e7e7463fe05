"""Rows: a sheet with one line of drawing for each name, wide or narrow.

Wide, the name stands to the left and a text to the right; narrow (a phone), both stand above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes

from allograft.report.figures.canvas import Sheet, cut, sheet, text_width
from allograft.report.style import INK, MUTED, PAPER

__all__ = ["NARROW", "WIDE", "Row", "both", "row_sheet"]

WIDE, NARROW = 760.0, 350.0
_AXIS = 42.0


class Row(NamedTuple):
    """A line of a drawing.

    Args:
        name: what it is about.
        text: what stands beside it.
    """

    name: str
    text: str


@contextmanager
def row_sheet(rows: Sequence[Row], *, width: float, xlabel: str, top: float = 8) -> Iterator[tuple[Sheet, Axes]]:
    """Yield a sheet and its axes; row i is drawn at y = i, from the top."""
    narrow = width < 500
    each = 52.0 if narrow else 38.0
    left = 16.0 if narrow else min(220.0, 20 + max(text_width(row.name) for row in rows))
    right = 22.0 if narrow else 16 + max(text_width(row.text, 11.5) for row in rows)
    with sheet(width, top + each * len(rows) + _AXIS) as page:
        axes = page.axes(left=left, right=right, top=top, bottom=_AXIS)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(xlabel)
        axes.locator_params(axis="x", nbins=4 if narrow else 7)
        for y, row in enumerate(rows):
            _write(axes, y, row, narrow=narrow)
        yield page, axes


def both(draw: Callable[[float], Markup]) -> dict[str, Markup]:
    """Draw for wide pages and for phones."""
    return {"wide": draw(WIDE), "narrow": draw(NARROW)}


def _write(axes: Axes, y: int, row: Row, *, narrow: bool) -> None:
    at, to = ("axes fraction", "data"), "offset points"
    if narrow:
        name = {"xy": (0, y - 0.26), "xytext": (4, 0), "ha": "left"}
        text = {"xy": (1, y - 0.26), "xytext": (0, 0), "ha": "right"}
    else:
        name = {"xy": (0, y), "xytext": (-12, 0), "ha": "right"}
        text = {"xy": (1, y), "xytext": (12, 0), "ha": "left"}
    most = 22 if narrow else 28
    # On a phone names stand inside the drawing: paper behind them keeps lines out of the letters.
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0} if narrow else None
    axes.annotate(cut(row.name, most), xycoords=at, textcoords=to, va="center", color=INK, bbox=box, **name)  # type: ignore[arg-type]
    axes.annotate(row.text, xycoords=at, textcoords=to, va="center", color=MUTED, fontsize=11.5, bbox=box, **text)  # type: ignore[arg-type]
