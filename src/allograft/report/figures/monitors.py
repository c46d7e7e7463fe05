"""Monitors: what was seen of held-out images while a network trained without labels, a panel for each question."""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes

from allograft.report.figures.canvas import Sheet, sheet
from allograft.report.style import INK, MUTED, PAPER, Look
from allograft.report.words import number
from allograft.study.pretext_stage import COLLAPSED, Line, PretextStage

__all__ = ["Panel", "monitors", "panels"]

_ROOM, _TOP, _BOTTOM = 40.0, 44.0, 40.0
_PROBE = (4.0, 2.0)
"""Dashes of the second line of a panel."""

LEAST = 0.06
"""Least range of an axis, as a share of its largest number (ours)."""


class Panel(NamedTuple):
    """One question.

    Args:
        title: what is drawn.
        below: what the marks or the dashed line mean.
        lines: one or two.
        reference: what the lines are to be seen against, a dashed line, None for nothing.
        level: the same where it is one number.
    """

    title: str
    below: str
    lines: tuple[Line, ...]
    reference: Line | None = None
    level: float | None = None


def panels(stage: PretextStage) -> tuple[Panel, ...]:
    """Return the panels that a stage has numbers for."""
    at = stage.lines
    loss, guess, spread = at.get("held_out_loss"), at.get("guess"), at.get("spread")
    found = [Panel("loss", "dashed: trivial guess" if guess else "", (loss,), guess)] if loss else []
    if "held_out_accuracy" in at:
        found.append(Panel("right answers", "dashed: chance", (at["held_out_accuracy"],), at.get("held_out_chance")))
    elif "retrieval" in at:
        found.append(Panel("views found", "dashed: chance", (at["retrieval"],), at["retrieval_chance"]))
    if spread:
        found.append(Panel("spread of features", "dashed: collapsed", (spread,), level=COLLAPSED))
    if told := tuple(at[name] for name in ("knn", "probe") if name in at):
        marks = "● kNN   ○ probe" if len(told) > 1 else "kNN" if "knn" in at else "probe"
        found.append(Panel("classes in features", marks, told))
    return tuple(found)


def monitors(stage: PretextStage, look: Look, *, name: str, width: float) -> Markup:
    """Draw the panels side by side, two in a row on a phone; means over runs, bands their middle 80 %."""
    shown = panels(stage)
    across = 2 if width < 500 else 4
    rows = -(-len(shown) // across)
    wide, high = width / across, 190.0 if across == 4 else 176.0
    label = f"{stage.recipe} on held-out images of {stage.dataset}. " + " ".join(map(_said, shown))
    with sheet(width, rows * high) as page:
        for i, panel in enumerate(shown):
            column, row = i % across, i // across
            axes = _place(page, column * wide, row * high, wide, high)
            _draw(axes, panel, look)
        return page.svg(name, label)


def _place(page: Sheet, x: float, y: float, wide: float, high: float) -> Axes:
    """Return axes in a box of the sheet that begins at (x, y) from the upper left."""
    right, bottom = page.width - x - wide + 12, page.height - y - high + _BOTTOM
    return page.axes(left=x + _ROOM, right=right, top=y + _TOP, bottom=bottom)


def _draw(axes: Axes, panel: Panel, look: Look) -> None:
    for i, line in enumerate(panel.lines):
        axes.fill_between(line.x, line.low, line.high, color=look.colour, alpha=0.1, linewidth=0)
        (drawn,) = axes.plot(
            line.x, line.mean, color=look.colour, linewidth=1.7, marker="o", markersize=4.5,
            markeredgecolor=look.colour if i else PAPER, markerfacecolor=PAPER if i else look.colour,
            markeredgewidth=1.2 if i else 0.6, markevery=max(1, len(line.x) // 6),
        )  # fmt: skip
        if i:
            drawn.set_dashes(_PROBE)
    if panel.reference is not None:
        axes.plot(panel.reference.x, panel.reference.mean, color=MUTED, linewidth=1.2, dashes=(4, 3))
    if panel.level is not None:
        axes.axhline(panel.level, color=MUTED, linewidth=1.2, dashes=(4, 3))
        axes.set_ylim(bottom=0)
    _write(axes, panel)


def _write(axes: Axes, panel: Panel) -> None:
    """Write title, meaning of the marks, and axes."""
    at = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    axes.annotate(panel.title, (0, 1), xytext=(-_ROOM + 14, 24), color=INK, fontsize=12, **at)  # type: ignore[arg-type]
    axes.annotate(panel.below, (0, 1), xytext=(-_ROOM + 14, 9), color=MUTED, fontsize=11, **at)  # type: ignore[arg-type]
    axes.set_xlabel("step", fontsize=11)
    axes.locator_params(axis="x", nbins=3)
    axes.locator_params(axis="y", nbins=4)
    axes.ticklabel_format(useOffset=False)
    axes.margins(x=0.04)
    axes.set_ylim(*_reach(*axes.get_ylim()))


def _reach(low: float, high: float) -> tuple[float, float]:
    """Return the ends of an axis, widened where next to nothing would fill it, so that noise stays small."""
    lack = max(0.0, LEAST * max(abs(low), abs(high)) - (high - low)) / 2
    return low - lack, high + lack


def _said(panel: Panel) -> str:
    """Say a panel in words."""
    ends = " and ".join(f"{number(line.mean[0])} to {number(line.mean[-1])}" for line in panel.lines)
    against = panel.level if panel.reference is None else panel.reference.mean[-1]
    return f"{panel.title}: from {ends}" + (f", {panel.below} {number(against)}." if against is not None else ".")
