"""Blur: Gaussian smoothing, one axis after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from allograft.data.transforms.transform import Draw, Transform

__all__ = ["Blur"]


class Blur(Transform):
    """Smooth with a Gaussian of a random width, the same along every axis.

    Args:
        sigma: largest standard deviation, in pixels.
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = False
    kind: Literal["blur"] = "blur"
    sigma: float = Field(default=1.0, ge=0)

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw the width."""
        return {"sigma": float(self.sigma * rng.random())}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Width 0."""
        return {"sigma": 0.0}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Smooth each image; the border repeats outwards."""
        sigmas = [float(draw["sigma"]) for draw in draws]
        radius = max(_radius(sigma) for sigma in sigmas)
        if radius == 0:
            return images
        # Written as shifts and sums, not as a convolution, which may round differently for a batch.
        weights = torch.stack([_kernel(sigma, radius) for sigma in sigmas])
        view = (-1, *[1] * (images.ndim - 1))
        for axis in range(2, images.ndim):
            length = images.shape[axis]
            padded = images.index_select(axis, torch.arange(-radius, length + radius).clamp_(0, length - 1))
            images = padded.narrow(axis, radius, length) * weights[:, radius].reshape(view)
            for k in range(radius):  # the kernel is even
                both = padded.narrow(axis, k, length) + padded.narrow(axis, 2 * radius - k, length)
                images.addcmul_(both, weights[:, k].reshape(view))
        return images


def _radius(sigma: float) -> int:
    """Return how far the kernel reaches: beyond four widths nothing is left."""
    return int(4 * sigma + 0.5)


def _kernel(sigma: float, radius: int) -> Tensor:
    """Return (2 radius + 1,) weights that sum to 1, zero beyond the kernel's own reach."""
    out = np.zeros(2 * radius + 1)
    own = _radius(sigma)
    reach = np.arange(-own, own + 1)
    values = np.exp(-0.5 * (reach / sigma) ** 2) if own else np.ones(1)
    out[radius - own : radius + own + 1] = values / values.sum()
    return torch.from_numpy(out.astype(np.float32))
