"""Heat: a test case with the places that spoke for a class in the eyes of a network."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from PIL import Image

from allograft.report.figures.contours import embedded
from allograft.study.heat import Heat

__all__ = ["glow", "profile"]

WIDTH = 200.0
"""Width of a drawing in its own units."""
SMALL = 192
"""Longest side of the embedded pixels: enough to see, and a report stays small (ours)."""
STRONGEST = 0.65
"""Opacity of the hottest place (ours)."""
PROFILE, GAP = 36.0, 4.0
"""Height of the bars below an image, and what lies between (ours)."""
MARKED, PLAIN = "#f6a21b", "#b9b9b9"
"""Bars of the slice that is shown and of the others; they stand on black."""


def glow(one: Heat, *, what: str) -> Markup:
    """Draw the image in grey and the heat over it, the more opaque the hotter."""
    rows, columns = one.image.shape
    height = round(WIDTH * rows / columns, 1)
    below = profile(one, height) if len(one.grid) == 1 else Markup()
    shrink = min(1.0, SMALL / max(rows, columns))
    size = (max(1, round(columns * shrink)), max(1, round(rows * shrink)))
    share = np.asarray(Image.fromarray(one.heat, mode="L").resize(size), dtype=np.float64) / 255
    colours = np.asarray(colormaps["inferno"](share))
    colours[..., 3] = STRONGEST * share
    parts = [
        embedded(Image.fromarray(one.image, mode="L").resize(size), WIDTH, height, Markup()),
        embedded(Image.fromarray(np.rint(255 * colours).astype(np.uint8), mode="RGBA"), WIDTH, height, Markup()),
    ]
    whole = height + (PROFILE + GAP if below else 0)
    begin = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {:g} {:g}">').format(what, WIDTH, whole)
    return begin + Markup().join(parts) + below + Markup("</svg>")


def profile(one: Heat, top: float) -> Markup:
    """Draw the attention to every slice as a row of bars below the image, the shown slice in another colour."""
    wide, most = WIDTH / len(one.shares), float(one.shares.max())
    bars = []
    for i, share in enumerate(one.shares):
        tall = round(PROFILE * float(share) / most, 2)
        colour = MARKED if i + 1 == one.place else PLAIN
        x, y = round(i * wide, 2), round(top + GAP + PROFILE - tall, 2)
        bar = '<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" fill="{}"/>'
        bars.append(Markup(bar).format(x, y, round(0.85 * wide, 2), tall, colour))
    return Markup().join(bars)
