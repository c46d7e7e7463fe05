"""Cutout: hide boxes behind the image's mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from allograft.data.transforms.transform import Draw, Transform

__all__ = ["Cutout"]


class Cutout(Transform):
    """Replace random boxes by each channel's mean. Masks stay: what is hidden is still to be found.

    Args:
        size: side of a box as a share of each axis, in (0, 1].
        boxes: boxes in an image.
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = False
    kind: Literal["cutout"] = "cutout"
    size: float = Field(default=0.25, gt=0, le=1)
    boxes: int = Field(default=1, ge=1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw [first, end) of each box along each axis; boxes lie inside the image."""
        sides = [max(1, round(self.size * n)) for n in shape[1:]]
        starts = rng.random((self.boxes, len(sides)))
        corners = [[int(u * (n - s + 1)) for u, n, s in zip(row, shape[1:], sides, strict=True)] for row in starts]
        return {"boxes": [[[a, a + s] for a, s in zip(corner, sides, strict=True)] for corner in corners]}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """No box."""
        return {"boxes": []}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Hide the boxes of each image."""
        return torch.stack([_one(image, draw) for image, draw in zip(images, draws, strict=True)])


def _one(image: Tensor, draw: Draw) -> Tensor:
    out = image.clone()
    mean = image.flatten(1).mean(1).reshape(-1, *[1] * (image.ndim - 1))
    for box in draw["boxes"]:
        out[(slice(None), *(slice(a, b) for a, b in box))] = mean
    return out
