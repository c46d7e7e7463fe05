"""Coverage: where each recipe's numbers come from, and how many of them do not learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes

from allograft.report.figures.canvas import text_width
from allograft.report.figures.rows import Row, row_sheet
from allograft.report.style import FATES, GRID, INK, MUTED, ON_BAR, ON_DARK, PAPER
from allograft.report.words import percent

__all__ = ["coverage"]

Named = Sequence[tuple[str, Mapping[str, float]]]


def coverage(recipes: Named, *, name: str, width: float) -> Markup:
    """Draw a bar of fates for each recipe, and below it, hatched, the share that is frozen."""
    narrow = width < 500
    frozen = [shares.get("frozen", 0.0) for _, shares in recipes]
    rows = [Row(r, _beside(f)) for (r, _), f in zip(recipes, frozen, strict=True)]
    label = "Where the numbers of each network come from. " + ". ".join(_said(r, shares) for r, shares in recipes)
    with row_sheet(rows, width=width, xlabel="share of the network's numbers") as (page, axes):
        axes.set_xlim(0, 1)
        ticks = [0, 0.5, 1] if narrow else [0, 0.25, 0.5, 0.75, 1]
        axes.set_xticks(ticks, [percent(t) for t in ticks])
        inside = width - (16 if narrow else 330)
        for y, (_, shares) in enumerate(recipes):
            at = y + (0.16 if narrow else -0.05)
            _bar(axes, at, shares, inside, 0.34 if narrow else 0.44)
            _frozen(axes, at + (0.26 if narrow else 0.33), shares.get("frozen", 0.0))
        return page.svg(name, label)


def _beside(frozen: float) -> str:
    return f"{percent(frozen)} frozen" if frozen else "none frozen"


def _said(recipe: str, shares: Mapping[str, float]) -> str:
    parts = [f"{percent(shares[f.name])} {f.name}" for f in FATES if shares.get(f.name)]
    return f"{recipe}: {', '.join(parts)}; {percent(shares.get('frozen', 0.0))} frozen"


def _bar(axes: Axes, y: float, shares: Mapping[str, float], inside: float, height: float) -> None:
    begin = 0.0
    for fate in FATES:
        share = shares.get(fate.name, 0.0)
        if share <= 0:
            continue
        axes.barh(y, share, left=begin, height=height, color=fate.colour, edgecolor=PAPER, linewidth=0.8, zorder=3)
        if text_width(fate.name, 11) < 0.9 * share * inside:
            ink = ON_DARK if fate.name == "copied" else ON_BAR
            axes.text(begin + share / 2, y + 0.02, fate.name, ha="center", va="center", size=11, color=ink, zorder=4)
        begin += share


def _frozen(axes: Axes, y: float, share: float) -> None:
    axes.barh(y, 1, height=0.12, facecolor="none", edgecolor=GRID, linewidth=0.8, zorder=2)
    if share:
        axes.barh(y, share, height=0.12, facecolor="none", edgecolor=INK, hatch="//////", linewidth=0.8, zorder=3)
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=2)
