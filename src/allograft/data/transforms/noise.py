"""Noise: independent Gaussian noise on every value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from allograft.data.transforms.transform import Draw, Transform

__all__ = ["Noise"]


class Noise(Transform):
    """Add Gaussian noise of a random strength.

    Args:
        strength: largest standard deviation of the noise, in standard deviations of the image.
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = False
    kind: Literal["noise"] = "noise"
    strength: float = Field(default=0.1, ge=0)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw the strength and the seed of the noise."""
        return {"strength": float(self.strength * rng.random()), "seed": int(rng.integers(2**53))}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Strength 0."""
        return {"strength": 0.0, "seed": 0}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Add noise to each image."""
        shape = tuple(images.shape[1:])
        noise = np.stack([np.random.default_rng(d["seed"]).standard_normal(shape, dtype=np.float32) for d in draws])
        size = [float(one.std(correction=0)) * draw["strength"] for one, draw in zip(images, draws, strict=True)]
        return images + torch.from_numpy(noise) * torch.tensor(size).reshape(-1, *[1] * len(shape))
