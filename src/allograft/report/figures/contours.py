"""Contours: a slice with the outlines of truth and prediction, and a map of what is wrong.

Both lie on the same image, which stands in the page once; outlines are paths, so they stay sharp.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.path import Path
from PIL import Image

from allograft.report.style import ERRORS
from allograft.study.slices import Slice

__all__ = ["contours", "embedded", "error_codes", "errors", "ground"]

WIDTH = 300.0
"""Width of a drawing in its own units."""

Plane = npt.NDArray[Any]


def ground(one: Slice, name: str) -> Markup:
    """Return the grey image, to be used by the drawings of the same `name`; itself it takes no room."""
    width, height = _size(one)
    image = embedded(Image.fromarray(one.image, mode="L"), width, height, Markup(' id="{}-ground"').format(name))
    return Markup('<svg class="ground" aria-hidden="true" width="0" height="0"><defs>{}</defs></svg>').format(image)


def contours(one: Slice, name: str, colours: Mapping[int, str], *, what: str) -> Markup:
    """Draw the truth as a full line in the colour of its class, the prediction as a dashed black and white one."""
    parts = []
    for value, colour in colours.items():
        line = _outline(one.truth == value, one)
        parts += [_path(line, "#000000", 4.5), _path(line, colour, 2.6)]
    for value in colours:
        line = _outline(one.labels == value, one)
        parts += [_path(line, "#000000", 2.0), _path(line, "#ffffff", 1.3, "4 3")]
    return _drawing(one, name, [part for part in parts if part], what)


def errors(one: Slice, name: str, *, what: str) -> Markup:
    """Draw what is right, too much, missed, and of the wrong class, over the darkened image."""
    width, height = _size(one)
    codes = error_codes(one)
    plane = Image.fromarray(codes, mode="P")
    plane.putpalette([0, 0, 0, *(int(colour[i : i + 2], 16) for _, colour, _ in ERRORS for i in (1, 3, 5))])
    dark = Markup('<rect width="{:g}" height="{:g}" opacity=".45"/>').format(width, height)
    shares = ", ".join(f"{label} {int((codes == i).sum())} pixels" for i, (label, _, _) in enumerate(ERRORS, start=1))
    return _drawing(one, name, [dark, embedded(plane, width, height, Markup(' class="sharp"'))], f"{what}: {shares}")


def error_codes(one: Slice) -> npt.NDArray[np.uint8]:
    """Return (H, W): 0 nothing, then the places of `ERRORS` from 1 on; what is not judged is 0."""
    truth, labels = one.truth, one.labels
    both = (truth > 0) & (labels > 0)
    tests = ((truth == labels) & both, (truth == 0) & (labels > 0), (truth > 0) & (labels == 0), both)
    return np.select(tests, (1, 2, 3, 4), 0).astype(np.uint8)


def _drawing(one: Slice, name: str, parts: Sequence[Markup], what: str) -> Markup:
    width, height = _size(one)
    begin = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {:g} {:g}"><use href="#{}-ground"/>')
    return begin.format(what, width, height, name) + Markup().join(parts) + Markup("</svg>")


def _size(one: Slice) -> tuple[float, float]:
    """Return the size of a drawing, as the pixels' spacing wants it."""
    rows, columns = (n * space for n, space in zip(one.image.shape, one.spacing, strict=True))
    return WIDTH, round(WIDTH * rows / columns, 1)


def embedded(image: Image.Image, width: float, height: float, more: Markup) -> Markup:
    """Return an image element that holds the pixels themselves; of a palette, entry 0 is transparent."""
    file = io.BytesIO()
    transparent = {"transparency": 0} if image.mode == "P" else {}
    image.save(file, "PNG", optimize=True, **transparent)
    text = base64.b64encode(file.getvalue()).decode()
    begin = '<image{} width="{:g}" height="{:g}" preserveAspectRatio="none" href="data:image/png;base64,{}"/>'
    return Markup(begin).format(more, width, height, text)


def _outline(mask: npt.NDArray[np.bool_], one: Slice) -> str:
    """Return the outline of a mask as a path in the drawing's units, "" for an empty one."""
    if not mask.any():
        return ""
    padded = np.pad(mask.astype(float), 1)
    drawn = Figure().add_subplot().contour(padded, levels=[0.5])
    width, height = _size(one)
    scale = np.array([width / mask.shape[1], height / mask.shape[0]])
    return "".join(_text(path, scale) for path in drawn.get_paths())


def _text(path: Path, scale: npt.NDArray[np.float64]) -> str:
    """Write a path; a pixel's centre lies half a pixel inside, and the padding is taken off."""
    assert path.codes is not None, "an outline has codes"
    words = []
    corners = (np.asarray(path.vertices, dtype=np.float64) - 0.5) * scale
    for (x, y), code in zip(corners, np.asarray(path.codes), strict=True):
        words.append("Z" if code == Path.CLOSEPOLY else f"{'M' if code == Path.MOVETO else 'L'}{x:.1f} {y:.1f}")
    return "".join(words)


def _path(line: str, colour: str, width: float, dashes: str = "") -> Markup:
    if not line:
        return Markup()
    dashed = Markup(' stroke-dasharray="{}"').format(dashes) if dashes else Markup()
    begin = '<path d="{}" fill="none" stroke="{}" stroke-width="{:g}"{} vector-effect="non-scaling-stroke"/>'
    return Markup(begin).format(line, colour, width, dashed)
