"""Canvas: where figures are drawn, and how they become SVG that lives inside a page.

Pixels are points here: a sheet of 720 x 300 is 720 x 300 CSS pixels at natural size.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.style
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from allograft.report.style import GRID, INK, MUTED, ROLES

__all__ = ["Sheet", "cut", "numbers_across", "sheet", "text_width"]

_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "allograft",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.unicode_minus": True,
    "text.color": INK,
    "hatch.linewidth": 1.2,
    "patch.edgecolor": "none",
}
_KEPT = 3
"""Decimals of coordinates: a thousandth of a pixel."""


@dataclass(frozen=True)
class Sheet:
    """An empty figure.

    Args:
        fig: to draw on.
        width, height: in pixels.
    """

    fig: Figure
    width: float
    height: float

    def axes(self, *, left: float, right: float, top: float, bottom: float) -> Axes:
        """Add axes with margins in pixels."""
        w, h = self.width, self.height
        return self.fig.add_axes((left / w, bottom / h, (w - left - right) / w, (h - top - bottom) / h))

    def svg(self, name: str, label: str) -> Markup:
        """Return the drawing as SVG to be put into a page.

        Args:
            name: unique in the page; begins every id of the drawing.
            label: what is to be seen, for people who do not see it.
        """
        file = io.StringIO()
        mark: dict[str, None] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.fig.savefig(file, format="svg", transparent=True, metadata=mark)
        body = _inside(file.getvalue(), name)
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" style="max-width:{1.25 * self.width:g}px"'
        return Markup('<svg role="img" aria-label="{}" {}>{}</svg>').format(escape(label), Markup(size), Markup(body))


@contextmanager
def sheet(width: float, height: float) -> Iterator[Sheet]:
    """Yield a sheet in the report's style, whatever style the reader's machine has."""
    with matplotlib.style.context("default", after_reset=True), mpl.rc_context(_RC):
        yield Sheet(Figure(figsize=(width / 72, height / 72), dpi=72), width, height)


def text_width(text: str, size: float = 12) -> float:
    """Return about how many pixels a text takes; on the long side."""
    return 0.6 * size * len(text)


def cut(text: str, most: int) -> str:
    """Shorten a text in the middle so that it fits; tables show it in full."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"


def numbers_across(axes: Axes, *, bins: int) -> None:
    """Put about `bins` round numbers on the x axis."""
    axes.locator_params(axis="x", nbins=bins)


def _inside(text: str, name: str) -> str:
    """Take what is inside the <svg> of a file; make ids unique, colours variables, and the text short."""
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<defs>\s*</defs>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    body = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", body)
    body = re.sub(r"-?\d+\.\d{4,}", lambda m: f"{float(m[0]):.{_KEPT}f}".rstrip("0").rstrip("."), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    for plain in re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', body):
        body = re.sub(rf'(fill|stroke)="{plain}"', rf'style="\1: {ROLES.get(plain, plain)}"', body)
    return re.sub(r"#[0-9a-f]{6}(?=[;\"])", lambda m: ROLES.get(m[0], m[0]), body)
