"""Curves: lines with bands over training steps, and points with whiskers over the share of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from allograft.report.figures.canvas import sheet
from allograft.report.style import PAPER, Look
from allograft.report.words import number, percent
from allograft.study.summary import Curve

__all__ = ["efficiency", "over_steps"]

_WIDTH, _HEIGHT = 400.0, 280.0


def over_steps(curves: Sequence[Curve], looks: Mapping[str, Look], *, what: str, name: str) -> Markup:
    """Draw means over runs with their bands against the optimisation step."""
    label = f"{what} over training steps. " + ". ".join(
        f"{c.recipe} ends at {number(c.mean[-1])} after {c.x[-1]:g} steps" for c in curves if c.x
    )
    with sheet(_WIDTH, _HEIGHT) as page:
        axes = page.axes(left=48, right=12, top=10, bottom=44)
        for c in curves:
            look = looks[c.recipe]
            axes.fill_between(c.x, c.low, c.high, color=look.colour, alpha=0.1, linewidth=0)
            _line(axes, c, look, every=max(1, len(c.x) // 5))
        axes.set_xlabel("training step")
        axes.locator_params(nbins=5)
        return page.svg(name, label)


def efficiency(curves: Sequence[Curve], looks: Mapping[str, Look], *, metric: str, name: str, width: float) -> Markup:
    """Draw the metric against the share of labels, with 95 % intervals, shares evenly apart by ratio."""
    shares = sorted({x for c in curves for x in c.x})
    label = f"{metric} by share of training labels. " + ". ".join(
        f"{c.recipe}: " + ", ".join(f"{number(m)} with {percent(x)}" for x, m in zip(c.x, c.mean, strict=True))
        for c in curves
    )
    with sheet(width, 340 if width > 500 else 300) as page:
        axes = page.axes(left=52, right=16, top=10, bottom=46)
        axes.set_xscale("log")
        for i, c in enumerate(curves):
            _whiskers(axes, c, looks[c.recipe], (i - (len(curves) - 1) / 2) / max(len(curves), 6))
        axes.xaxis.set_major_locator(FixedLocator(shares))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(shares, [percent(x) for x in shares])
        axes.set_xlim(shares[0] / _reach(shares), shares[-1] * _reach(shares))
        axes.set_xlabel("share of the training labels used")
        axes.locator_params(axis="y", nbins=6)
        return page.svg(name, label)


def _line(axes: Axes, c: Curve, look: Look, *, every: int) -> None:
    (line,) = axes.plot(
        c.x, c.mean, color=look.colour, linewidth=1.9, marker=look.marker, markersize=5.5, markevery=every,
        markeredgecolor=PAPER, markeredgewidth=0.6,
    )  # fmt: skip
    if look.dashes:
        line.set_dashes(look.dashes)


def _whiskers(axes: Axes, c: Curve, look: Look, shift: float) -> None:
    """Points a little apart, so that intervals at one share can be told from each other."""
    apart = _reach(c.x) if len(c.x) > 1 else 1.15
    x = [value * apart ** (0.7 * shift) for value in c.x]
    moved = c.model_copy(update={"x": tuple(x)})
    for at, low, high in zip(x, c.low, c.high, strict=True):
        axes.plot([at, at], [low, high], color=look.colour, linewidth=1.6, alpha=0.75, solid_capstyle="round")
    _line(axes, moved, look, every=1)


def _reach(shares: Sequence[float]) -> float:
    """Return the factor that a share's points may lie away from it: a quarter of the smallest gap."""
    ratios = [b / a for a, b in pairwise(shares)]
    return float(min(ratios, default=1.5) ** 0.25)
