"""Propose for masks: spacing, windows, a network with a decoder, and the recipes that suit a segmentation."""

from __future__ import annotations

import math
from typing import Any

from allograft.study.survey import Survey
from allograft.study.windows import suggest_size

__all__ = ["mask_fields", "windows_of"]

CARD = "tf_efficientnet_lite0-imagenet"
ENCODER = {2: "timm:tf_efficientnet_lite0", 3: "timm-slice:tf_efficientnet_lite0"}

Data = dict[str, Any]


def mask_fields(found: Survey) -> tuple[Data, dict[str, str]]:
    """Return the fields of a study that differ from those of a classification, and why by field."""
    source = {"source": CARD}
    patch = suggest_size([found.size])
    preprocess: Data = {"intensity": "percentile"}
    said = "values have no fixed unit: each image is clipped at its 0.5 % ends and standardised"
    if found.units_of_values == "HU":
        preprocess = {"intensity": "window", "low": -160.0, "high": 240.0}
        said = "Hounsfield units, soft tissue; lung is -1000 to 400, bone -500 to 1300"
    elif found.full_range is not None:
        preprocess = {"intensity": "unit", "low": found.full_range[0], "high": found.full_range[1]}
        said = "the format's full range becomes 0 to 1"
    if found.dims == 3:
        preprocess["spacing"] = "median"
        said += "; every volume is resampled to the median spacing, and masks go back to their own grid"
    elif len(found.channels) > 1:
        preprocess["channels"] = 3 if 3 in found.channels else 1
    rows: list[tuple[Data, str]] = [
        ({"name": "scratch", "start": "scratch"}, "the network that is transferred below, without transfer"),
        ({"name": "imagenet", "start": "full", **source}, "all weights of the encoder; the decoder is fresh"),
        ({"name": "mean-var", "start": "mean_var", **source}, "only the scale of each layer: no features are kept"),
        ({"name": "imagenet-frozen", "start": "full", **source, "tuning": "frozen"}, "only the decoder learns"),
    ]
    if found.dims == 3:
        for row, _ in rows:
            if row.get("start") == "full":
                row["start"] = {"full": {"fill": "slice"}}
    fields: Data = {
        "preprocess": preprocess,
        "patches": {"size": list(patch)},
        "net": {"encoder": ENCODER[found.dims], "decoder": "unet", **({"dims": 3} if found.dims == 3 else {})},
        "recipes": [row for row, _ in rows],
    }
    why = {f"recipes.{row['name']}": text for row, text in rows}
    why["preprocess"] = said
    why["patches"] = "the windows that the network sees; a third of them hold a structure"
    return fields, why


def windows_of(shape: tuple[int, ...], patch: tuple[int, ...], overlap: float) -> int:
    """Return how many windows cover an image.

    >>> windows_of((64, 64), (32, 32), 0.5)
    9
    """
    steps = [max(1, int(p * (1 - overlap))) for p in patch]
    return math.prod(1 + max(0, -(-(n - p) // s)) for n, p, s in zip(shape, patch, steps, strict=True))
