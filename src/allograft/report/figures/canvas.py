"""Canvas: where figures are drawn, and how they become SVG that lives inside a page.

Pixels are points here: a sheet of 720 x 300 is 720 x 300 CSS pixels at natural size.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.style
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from allograft.report.style import GRID, INK, MUTED, ROLES

__all__ = ["Sheet", "cut", "sheet", "text_width"]

_RC: dict[Any, Any] = {
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
_TAG = re.compile(r"<[^>]+>")


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
            label: what is to be seen, for people who do not see it; empty for mere decoration.
        """
        file = io.StringIO()
        mark: dict[str, None] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.fig.savefig(file, format="svg", transparent=True, metadata=mark)
        body = _inside(file.getvalue(), name)
        w, h = self.width, self.height
        size = f'viewBox="0 0 {w:g} {h:g}" style="--natural:{w:g}px;max-width:{1.25 * w:g}px"'
        told = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
        return Markup("<svg {} {}>{}</svg>").format(told, Markup(size), Markup(body))


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


def _inside(text: str, name: str) -> str:
    """Take what is inside the <svg> of a file; make ids unique, colours variables, and the text short."""
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<defs>\s*</defs>", "", body, flags=re.DOTALL)
    used = {found for tag in _TAG.findall(body) for found in re.findall(r'(?:href="#|url\(#)([^")]+)', tag)}
    # Only tags are edited: what stands between them is the reader's own words.
    body = _TAG.sub(lambda tag: _tidy(tag[0], name, used), body)
    return re.sub(r"\s*\n\s*", "\n", body)


def _tidy(tag: str, name: str, used: set[str]) -> str:
    """Rewrite one tag; ids that nobody refers to are dropped."""
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", tag)
    tag = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", tag)
    tag = re.sub(r' font-family: [^;"]*;?| transform="rotate\(-?0 [^"]*\)"', "", tag)
    tag = re.sub(r"-?\d+\.\d{4,}", lambda m: f"{float(m[0]):.{_KEPT}f}".rstrip("0").rstrip("."), tag)
    # A variable works in a style, not in an attribute of its own.
    tag = re.sub(r'\b(fill|stroke)="(#[0-9a-f]{6})"', r'style="\1: \2"', tag)
    return re.sub(r"#[0-9a-f]{6}(?=[;\"])", lambda m: ROLES.get(m[0], m[0]), tag)
