"""Swatch: the little line, marker or bar that a legend shows.

A legend stands in several places of a page, so swatches are drawn without ids.
"""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.markers import MarkerStyle
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.transforms import Affine2D

from allograft.report.figures.canvas import Sheet, sheet
from allograft.report.style import INK, PAPER, Fate, Look, Verdict

__all__ = ["fate_swatch", "mark_swatch", "recipe_swatch", "verdict_swatch"]


def recipe_swatch(look: Look) -> Markup:
    """Draw a recipe's line with its marker."""
    with sheet(36, 14) as page:
        axes = _bare(page)
        (line,) = axes.plot([1, 35], [7, 7], color=look.colour, linewidth=2, clip_on=False)
        if look.dashes:
            line.set_dashes(look.dashes)
        _marker(axes, (18, 7), look.marker, 8.5, look.colour, PAPER)
        return page.svg("", "")


def verdict_swatch(verdict: Verdict) -> Markup:
    """Draw the marker of a verdict as the forest plot shows it."""
    with sheet(20, 14) as page:
        _marker(_bare(page), (10, 7), verdict.marker, 9, INK if verdict.filled else PAPER, INK, 1.6)
        return page.svg("", "")


def mark_swatch(marker: str, face: str, edge: str) -> Markup:
    """Draw a mark of a map in its colours; a face of "none" leaves it hollow."""
    with sheet(20, 14) as page:
        _marker(_bare(page), (10, 7), marker, 8, face, edge, 1.4)
        return page.svg("", "")


def fate_swatch(fate: Fate) -> Markup:
    """Draw the colour of a fate as the coverage bars show it."""
    with sheet(20, 14) as page:
        _bare(page).add_patch(Rectangle((1, 0), 18, 14, facecolor=fate.colour, clip_on=False))
        return page.svg("", "")


def _bare(page: Sheet) -> Axes:
    axes = page.axes(left=0, right=0, top=0, bottom=0)
    axes.set_axis_off()
    axes.set_xlim(0, page.width)
    axes.set_ylim(0, page.height)
    return axes


def _marker(
    axes: Axes, at: tuple[float, float], marker: str, size: float, face: str, edge: str, width: float = 0.8
) -> None:
    """Draw a marker as a path: matplotlib's own markers need ids."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform() + Affine2D().scale(size).translate(*at))
    axes.add_patch(PathPatch(path, facecolor=face, edgecolor=edge, linewidth=width, clip_on=False, zorder=4))
