"""Layers: how far training moved each stage of each recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from allograft.report.figures.canvas import cut, sheet
from allograft.report.style import PAPER, Look
from allograft.report.words import number
from allograft.study.summary import Layer

__all__ = ["change", "in_order"]


def change(layers: Sequence[Layer], looks: Mapping[str, Look], *, name: str, width: float) -> Markup:
    """Draw the relative change of weights over stages; a frozen stage has no point."""
    stages = in_order(layer.stage for layer in layers)
    recipes = in_order(layer.recipe for layer in layers if layer.change is not None)
    found = {(layer.recipe, layer.stage): layer.change for layer in layers}
    label = "Relative change of the weights by training, by stage. " + ". ".join(
        f"{r}: " + ", ".join(f"{s} {number(v)}" for s in stages if (v := found.get((r, s))) is not None)
        for r in recipes
    )
    with sheet(width, 330 if width > 500 else 300) as page:
        axes = page.axes(left=52, right=16, top=10, bottom=72)
        for recipe in recipes:
            look = looks[recipe]
            at = [(i, v) for i, s in enumerate(stages) if (v := found.get((recipe, s))) is not None]
            (line,) = axes.plot(
                [i for i, _ in at], [v for _, v in at], color=look.colour, linewidth=1.9, marker=look.marker,
                markersize=6.5, markeredgecolor=PAPER, markeredgewidth=0.6,
            )  # fmt: skip
            if look.dashes:
                line.set_dashes(look.dashes)
        axes.set_xlim(-0.4, len(stages) - 0.6)
        axes.set_ylim(bottom=0)
        axes.set_xticks(
            range(len(stages)), [cut(s, 14) for s in stages], rotation=38, ha="right", rotation_mode="anchor"
        )
        axes.locator_params(axis="y", nbins=6)
        return page.svg(name, label)


def in_order(names: object) -> list[str]:
    """Return names once each, in the order of their first appearance."""
    return list(dict.fromkeys(names))  # type: ignore[call-overload]
