"""Learning: test score against the number of labels that were asked for."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from allograft.report.figures.canvas import sheet
from allograft.report.style import PAPER, Look
from allograft.report.words import number
from allograft.study.label_need import LabelNeed

__all__ = ["learning"]


def learning(need: LabelNeed, looks: Mapping[str, Look], *, metric: str, name: str, width: float) -> Markup:
    """Draw means over seeds with their intervals, a little apart, and the score to reach as a dashed line."""
    label = f"{metric} by number of labels. " + ". ".join(
        f"{c.recipe}: " + ", ".join(f"{number(m)} with {x:g}" for x, m in zip(c.x, c.mean, strict=True))
        for c in need.curves
    )
    steps = [b - a for c in need.curves for a, b in zip(c.x, c.x[1:], strict=False)]
    gap = 0.06 * min(steps, default=1.0)
    with sheet(width, 340 if width > 500 else 300) as page:
        axes = page.axes(left=52, right=16, top=10, bottom=46)
        axes.axhline(need.target, color="#888888", linewidth=1.0, linestyle=(0, (4, 3)))
        for i, c in enumerate(need.curves):
            look, shift = looks[c.recipe], gap * (i - (len(need.curves) - 1) / 2)
            x = [value + shift for value in c.x]
            for at, low, high in zip(x, c.low, c.high, strict=True):
                axes.plot([at, at], [low, high], color=look.colour, linewidth=1.3, alpha=0.5, solid_capstyle="round")
            (line,) = axes.plot(
                x, c.mean, color=look.colour, linewidth=1.9, marker=look.marker, markersize=5.5,
                markeredgecolor=PAPER, markeredgewidth=0.6,
            )  # fmt: skip
            if look.dashes:
                line.set_dashes(look.dashes)
        axes.set_xlabel("labelled cases")
        axes.locator_params(axis="y", nbins=6)
        labels = sorted({x for c in need.curves for x in c.x})
        axes.set_xticks(labels[:: max(1, len(labels) // 8)])
        return page.svg(name, label)
