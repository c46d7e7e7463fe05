"""Crop: a random part of the image, stretched back to the image's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from allograft.data.transforms.sampling import affine_points, sample_at
from allograft.data.transforms.transform import Draw, Transform

__all__ = ["Crop"]


class Crop(Transform):
    """Random resized crop, for any number of axes.

    Args:
        share: smallest and largest share of the area or volume that is kept, in (0, 1].
        ratio: largest ratio of two axes' shares, >= 1; 1 keeps proportions.
        p: probability, in [0, 1].
    """

    moves: ClassVar[bool] = True
    kind: Literal["crop"] = "crop"
    share: tuple[float, float] = (0.5, 1.0)
    ratio: float = Field(default=4 / 3, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.share
        if not 0 < low <= high <= 1:
            msg = f"share must be (low, high) with 0 < low <= high <= 1, got {self.share}"
            raise ValueError(msg)
        return self

    def parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
        """Draw the kept side and its start along each axis, as shares of the axis."""
        dims = len(shape) - 1
        bend = rng.uniform(-0.5, 0.5, size=dims) * np.log(self.ratio)
        sides = np.minimum(rng.uniform(*self.share) ** (1 / dims) * np.exp(bend - bend.mean()), 1.0)
        return {"sides": sides.tolist(), "starts": (rng.random(dims) * (1 - sides)).tolist()}

    def identity(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Everything is kept."""
        dims = len(shape) - 1
        return {"sides": [1.0] * dims, "starts": [0.0] * dims}

    def change(self, images: Tensor, draws: Sequence[Draw], *, mask: bool) -> Tensor:
        """Cut and stretch each image; of a volume the slowest axis first, then its slices."""
        shape = tuple(images.shape[2:])
        sides = np.asarray([draw["sides"] for draw in draws])
        starts = np.asarray([draw["starts"] for draw in draws])
        matrices = torch.from_numpy(np.stack([np.diag(row) for row in sides])).float()
        shifts = torch.from_numpy((starts + sides / 2 - 0.5) * np.asarray(shape)).float()
        if len(shape) == 2:
            return sample_at(images, affine_points(matrices, shifts, shape), padding="border", mask=mask)
        # No axis turns into another, so slices are moved alike: many times faster than point by point.
        (along,) = [points[:, :, 0, 0] for points in affine_points(matrices, shifts, (shape[0], 1, 1))[:1]]
        slices = torch.stack([_between(one, at, mask=mask) for one, at in zip(images, along, strict=True)])
        points = affine_points(matrices[:, 1:, 1:], shifts[:, 1:], shape[1:])
        return sample_at(slices.flatten(1, 2), points, padding="border", mask=mask).reshape(images.shape)


def _between(image: Tensor, places: Tensor, *, mask: bool) -> Tensor:
    """Return an image (C, D, *) read at places along its slowest axis; of a mask the nearest."""
    places = places.clamp(0, image.shape[1] - 1)
    if mask:
        return image.index_select(1, places.round().long())
    below = places.floor().long().clamp_(max=max(0, image.shape[1] - 2))
    share = (places - below).reshape(1, -1, *[1] * (image.ndim - 2)).to(image)
    above = (below + 1).clamp_(max=image.shape[1] - 1)
    return torch.lerp(image.index_select(1, below), image.index_select(1, above), share)
