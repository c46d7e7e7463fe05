"""Rotate90: quarter turns, which move pixels without interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from allograft.data.transforms.transform import Draw, Transform

__all__ = ["Rotate90"]


class Rotate90(Transform):
    """Turn by 90, 180 or 270 degrees in a random plane.

    In a plane whose two sides differ only 180 degrees keep the shape, so only those are drawn.

    Args:
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = True
    kind: Literal["rotate90"] = "rotate90"
    p: float = Field(default=0.5, ge=0, le=1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw plane and number of quarter turns."""
        planes = list(combinations(range(1 - len(shape), 0), 2))
        plane = planes[int(rng.integers(len(planes)))]
        square = shape[plane[0]] == shape[plane[1]]
        return {"plane": list(plane), "turns": int(rng.integers(1, 4)) if square else 2}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """No turn."""
        return {"plane": [-2, -1], "turns": 0}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Turn each image."""
        return torch.stack([torch.rot90(x, d["turns"], d["plane"]) for x, d in zip(images, draws, strict=True)])
