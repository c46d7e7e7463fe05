"""Intensity: brightness, contrast and gamma, in units that fit any image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from allograft.data.transforms.transform import Draw, Transform

__all__ = ["Intensity"]


class Intensity(Transform):
    """Shift, stretch and bend the values of an image.

    All three are relative to the image itself, so the same numbers suit values in [0, 1] and
    standardised values. Nothing is clipped.

    Args:
        brightness: largest shift, in standard deviations of the image.
        contrast: largest relative stretch about the image's mean or its inverse.
        gamma: largest relative exponent or its inverse, between the image's own minimum and maximum.
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = False
    kind: Literal["intensity"] = "intensity"
    brightness: float = Field(default=0.2, ge=0)
    contrast: float = Field(default=0.2, ge=0)
    gamma: float = Field(default=0.2, ge=0)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw shift, stretch and exponent."""
        unit = rng.uniform(-1, 1, size=3)
        return {
            "brightness": float(self.brightness * unit[0]),
            "contrast": float((1 + self.contrast) ** unit[1]),
            "gamma": float((1 + self.gamma) ** unit[2]),
        }

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Shift 0, stretch 1, exponent 1."""
        return {"brightness": 0.0, "contrast": 1.0, "gamma": 1.0}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Return ((y - mean) * contrast + mean + std * brightness), y bent by gamma, in few passes."""
        view = (-1, *[1] * (images.ndim - 1))
        ends = [one.aminmax() for one in images]
        low, high = torch.stack([a for a, _ in ends]), torch.stack([b for _, b in ends])
        span = high - low
        safe = torch.where(span > 0, span, 1.0).reshape(view)
        # Rounding may leave [0, 1], and a power of what lies below is not a number.
        unit = (images - low.reshape(view)).div_(safe).clamp_(0, 1)
        scale, shift = [], []
        for one, draw in zip(unit, draws, strict=True):
            if draw["gamma"] != 1:
                one.log2_().mul_(draw["gamma"]).exp2_()  # a power, in a third of the time of pow
            mean = float(one.mean())
            std = math.sqrt(float((one - mean).square_().mean()))
            scale.append(draw["contrast"])
            shift.append(mean * (1 - draw["contrast"]) + std * draw["brightness"])
        stretch, lift = torch.tensor(scale) * span, torch.tensor(shift) * span + low
        return unit.mul_(stretch.reshape(view)).add_(lift.reshape(view))
