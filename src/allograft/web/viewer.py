"""Viewer: a page that shows an image with label maps in slices and in 3-D; it works from the disk, without a network.

NiiVue (WebGL 2) does the drawing. Its one file and the volumes are inside the page, and a content security
policy forbids every connection. The page holds the image itself: it is as private as the image is.
"""

from __future__ import annotations

import base64
import colorsys
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.data.io.image import Image
from allograft.data.origins import resolve
from allograft.web.volume import focus_of, nifti_of, window_of

__all__ = ["NIIVUE", "NIIVUE_SHA256", "LabelMap", "niivue_script", "viewer_page"]

NIIVUE = "npm:@niivue/niivue@0.69.0#dist/niivue.umd.js"
NIIVUE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
LARGEST = 400 * 2**20
"""Most characters of volumes in a page: browsers hold no longer strings (ours)."""
GOLDEN = 0.618034
"""Share of the colour circle between the colours of two classes that follow each other."""


class LabelMap(NamedTuple):
    """Labels to lay over the image.

    Args:
        name: "prediction" or "truth".
        labels: (*S) classes on the image's grid; below 0 is not shown.
    """

    name: str
    labels: npt.NDArray[Any]


def niivue_script() -> str:
    """Return NiiVue, fetched once and kept.

    Raises:
        Unreachable: a `DataError`; it cannot be had from here; says how to carry it by hand.
    """
    return resolve(NIIVUE, sha256=NIIVUE_SHA256).read_text(encoding="utf-8")


def viewer_page(
    image: Image, maps: Sequence[LabelMap], classes: Sequence[str], *, title: str, said: Sequence[str], niivue: str
) -> str:
    """Return the page as HTML; the same image and labels give the same bytes.

    Args:
        image: canonical, 2-D or 3-D; of several channels the first is shown, of pictures the colours.
        maps: on its grid.
        classes: names by class index, background first; classes without a name are counted.
        title: of the page.
        said: sentences that stand beside the picture.
        niivue: the script.

    Raises:
        DataError: a label map lies on another grid, or the volumes are too large for a page.
    """
    for one in maps:
        if one.labels.shape != image.geometry.shape:
            msg = (
                f"{one.name}: labels of shape {one.labels.shape} do not lie on the image's grid "
                f"{image.geometry.shape}. Give the image that they were made from."
            )
            raise DataError(msg)
    data = _data(image, maps, classes)
    if (size := sum(len(layer["nifti"]) for layer in data["layers"])) > LARGEST:
        msg = f"the volumes take {size >> 20} MiB, a page holds at most {LARGEST >> 20}. Crop or resample the image."
        raise DataError(msg)
    own = _asset("viewer.js")
    parts = {
        "title": html.escape(title),
        "said": "".join(f"<p>{html.escape(sentence)}</p>" for sentence in said),
        "style": _asset("viewer.css"),
        "data": json.dumps(data).replace("<", "\\u003c"),
        "niivue": niivue,
        "script": own,
        "licence": html.escape(_asset("niivue-licence.txt")),
        "hashes": " ".join(f"'sha256-{_digest(text)}'" for text in (niivue, own)),
    }
    return re.sub(r"@@(\w+)@@", lambda found: parts[found[1]], _asset("viewer.html"))


def _data(image: Image, maps: Sequence[LabelMap], classes: Sequence[str]) -> dict[str, Any]:
    low, high = window_of(image)
    layers: list[Mapping[str, Any]] = [{"name": "image", "nifti": nifti_of(image), "low": low, "high": high}]
    layers += [{"name": one.name, "nifti": nifti_of(image, one.labels)} for one in maps]
    there = sorted({int(value) for one in maps for value in np.unique(one.labels) if value > 0})
    rows = [
        {
            "value": value,
            "name": classes[value] if value < len(classes) else f"label {value}",
            "colour": _colour(value),
            "counts": [int((one.labels == value).sum()) for one in maps],
        }
        for value in there
    ]
    focus = focus_of(image, [one.labels for one in maps])
    placed = image.geometry.unit == "mm"
    return {"flat": image.dims == 2, "placed": placed, "focus": focus, "layers": layers, "classes": rows}


def _colour(value: int) -> tuple[int, int, int]:
    """Return red, green, blue of a class: hues go round by the golden share, lightness takes turns."""
    hue, light = (0.12 + (value - 1) * GOLDEN) % 1.0, (0.62, 0.72, 0.8)[(value - 1) % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, light, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return Path(str(files("allograft") / "web" / "page" / name)).read_text(encoding="utf-8").strip()
