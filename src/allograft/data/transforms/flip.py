"""Flip: mirror along spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.data.transforms.transform import Draw, Transform

__all__ = ["Flip"]


class Flip(Transform):
    """Mirror along a random non-empty choice of `axes`.

    Args:
        axes: spatial axes counted from the last: -1 is left-right in a picture and in a volume
            whose fastest axis runs from left to right. Leave -1 out where sides carry meaning.
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = True
    kind: Literal["flip"] = "flip"
    p: float = Field(default=0.5, ge=0, le=1)
    axes: tuple[Literal[-1, -2, -3], ...] = Field(default=(-1,), min_length=1)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw the axes."""
        if -min(self.axes) > len(shape) - 1:
            msg = f"flip: axis {min(self.axes)} is not a spatial axis of a {len(shape) - 1}-D image. Correct `axes`."
            raise ConfigError(msg)
        bits = int(rng.integers(1, 2 ** len(self.axes)))
        return {"axes": [axis for i, axis in enumerate(self.axes) if bits >> i & 1]}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """No axis."""
        return {"axes": []}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Mirror each image."""
        return torch.stack([image.flip(draw["axes"]) for image, draw in zip(images, draws, strict=True)])
