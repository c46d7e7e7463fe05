"""Views of a test image: the image itself, or ten crops of it whose probabilities are averaged.

Ten crops are the four corners and the centre, and their mirror images from left to right (Krizhevsky,
Sutskever, Hinton. NeurIPS 2012). A crop has 7/8 of each side, as 224 of 256 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.core.task import Kind
from allograft.functional.probabilities import probabilities

__all__ = ["SHARE", "Views", "judged_by_views", "ten_crops"]

Views = Literal["plain", "ten_crop"]
"""The image as it is, or ten crops of it."""

SHARE = 224 / 256
"""Side of a crop as a share of the image's (the paper's)."""

SAFE = 1e-7
"""Least probability that is turned back into a logit."""


def ten_crops(images: Tensor) -> Iterator[Tensor]:
    """Yield the crops of images (B, C, H, W): four corners, centre, then all five mirrored.

    Raises:
        ConfigError: the images are volumes.
    """
    if images.ndim != 4:
        msg = f"views: ten crops are made of 2-D images, got {images.ndim - 2}-D ones. Use views: plain."
        raise ConfigError(msg)
    rooms = [(n, max(1, round(SHARE * n))) for n in map(int, images.shape[2:])]  # sizes are tensors in a trace
    (tall, h), (wide, w) = rooms
    centre = (round((tall - h) / 2), round((wide - w) / 2))
    corners = [(0, 0), (0, wide - w), (tall - h, 0), (tall - h, wide - w), centre]
    for flipped in (False, True):
        whole = images.flip(-1) if flipped else images
        for top, left in corners:
            yield whole[:, :, top : top + h, left : left + w]


def judged_by_views(judge: Callable[[Tensor], Tensor], images: Tensor, kind: Kind) -> Tensor:
    """Return the logits (B, O) of the probabilities that `judge` gives to ten crops on average."""
    found = [probabilities(judge(crop).double(), kind) for crop in ten_crops(images)]
    mean = torch.stack(found).mean(0).clamp(SAFE, 1 - SAFE)
    if kind == "multiclass":
        return mean.log()
    odds = mean.log() - (-mean).log1p()
    return odds[:, 1:] if kind == "binary" else odds
