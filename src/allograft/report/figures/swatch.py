"""Swatch: the little line, marker or bar that a legend shows."""

from __future__ import annotations

from markupsafe import Markup

from allograft.report.figures.canvas import sheet
from allograft.report.style import INK, PAPER, Look, Verdict

__all__ = ["recipe_swatch", "verdict_swatch"]


def recipe_swatch(look: Look, *, name: str) -> Markup:
    """Draw a recipe's line with its marker."""
    with sheet(36, 14) as page:
        axes = page.axes(left=0, right=0, top=0, bottom=0)
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        (line,) = axes.plot([0.02, 0.98], [0.5, 0.5], color=look.colour, linewidth=2)
        if look.dashes:
            line.set_dashes(look.dashes)
        axes.plot([0.5], [0.5], look.marker, color=look.colour, markersize=8, markeredgecolor=PAPER)
        return page.svg(name, "")


def verdict_swatch(verdict: Verdict, *, name: str) -> Markup:
    """Draw the marker of a verdict as the forest plot shows it."""
    with sheet(20, 14) as page:
        axes = page.axes(left=0, right=0, top=0, bottom=0)
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.plot(
            [0.5], [0.5], verdict.marker, markersize=9, markeredgewidth=1.6, markeredgecolor=INK,
            markerfacecolor=INK if verdict.filled else PAPER,
        )  # fmt: skip
        return page.svg(name, "")
