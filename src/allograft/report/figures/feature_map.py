"""FeatureMap: deep features of source and target in two dimensions; colour is the domain, the mark the class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes

from allograft.report.figures.canvas import sheet
from allograft.report.style import DOMAIN_COLOURS, PAPER
from allograft.study.feature_map import FeatureMap

__all__ = ["MARKS", "Style", "Time", "feature_map"]

Time = Literal["before", "after"]

MARKS = ("o", "^", "s", "D", "v", "p", "P", "X")
DRAWN = 80
"""Cases of each side that are drawn: more would hide each other."""


class Style(NamedTuple):
    """What colours and marks mean, the same in all maps of a table.

    Args:
        domains: names, source first; source domains are drawn hollow, target domains full.
        targets: which of them are the target's.
        labels: classes; none where there are more than there are marks, or cases have no single class.
    """

    domains: tuple[str, ...]
    targets: frozenset[str]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, maps: Iterable[FeatureMap], source: Sequence[str], target: Sequence[str]) -> Style:
        """Return the style of several maps."""
        every = list(maps)
        held = {name for one in every for name in one.domains}
        known = [name for name in dict.fromkeys((*source, *target, *sorted(held))) if name in held]
        labels = sorted({label for one in every for label in one.labels if label})
        return cls(tuple(known), frozenset(target), tuple(labels) if len(labels) <= len(MARKS) else ())

    def colour(self, domain: str) -> str:
        """Return the placeholder of a domain's colour."""
        return DOMAIN_COLOURS[self.domains.index(domain) % len(DOMAIN_COLOURS)]

    def mark(self, label: str) -> str:
        """Return matplotlib's name of a class's mark."""
        return MARKS[self.labels.index(label)] if label in self.labels else MARKS[0]


def feature_map(points: FeatureMap, time: Time, style: Style, *, name: str, what: str) -> Markup:
    """Draw one map; axes have no unit and are not numbered.

    Args:
        points: of one recipe.
        time: which of its two maps.
        style: colours and marks.
        name: unique in the page.
        what: is shown, in words.
    """
    at, sides = getattr(points, time), np.array(points.sides)
    shown = sorted(i for side in ("source", "target") for i in np.flatnonzero(sides == side)[:DRAWN])
    label = f"Deepest features in two principal components, {what}. Source hollow, target full."
    with sheet(340, 270) as page:
        axes = page.axes(left=8, right=8, top=8, bottom=8)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.08)
        for domain, mark in product(style.domains, dict.fromkeys(map(style.mark, (*style.labels, "")))):
            rows = [i for i in shown if points.domains[i] == domain and style.mark(points.labels[i]) == mark]
            if rows:
                _scatter(axes, at[rows], mark, style.colour(domain), full=domain in style.targets)
        return page.svg(name, label)


def _scatter(axes: Axes, at: npt.NDArray[np.float64], mark: str, colour: str, *, full: bool) -> None:
    axes.plot(
        at[:, 0], at[:, 1], mark, markersize=6.5, alpha=0.85, markeredgewidth=0.7 if full else 1.4,
        markeredgecolor=PAPER if full else colour, markerfacecolor=colour if full else "none",
    )  # fmt: skip
