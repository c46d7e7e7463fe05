"""Pretext: what objectives share that learn from images alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from allograft.contracts import Loss, Objective, StreamSpec
from allograft.core.config import Config
from allograft.core.stream_spec import IMAGES, TESTED
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network

__all__ = ["IMAGES", "TESTED", "Drawn", "ImagesAlone", "Pretext", "answered", "images", "pixels"]


@runtime_checkable
class Pretext(Objective, Protocol):
    """An objective that needs no labels; the procedure `self_supervised` gives it images in the role "images"."""

    def tasks(self, dims: int) -> Mapping[str, Task]:
        """Return the heads that its network is given; none where the criterion owns all that it adds."""


@runtime_checkable
class Drawn(Protocol):
    """A criterion that can show what it does to images: restorations, puzzles."""

    def pictures(self, nets: Mapping[str, Network], batch: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Return images (B, C, *S) by what they show, in the order in which they stand side by side."""


def images(
    *, views: int = 0, look: Literal["augment", "strong"] = "augment", batch: int = 0
) -> Mapping[str, StreamSpec]:
    """Return the one stream "images": plain images, or `views` further copies of each, each with its own draws."""
    return {IMAGES: StreamSpec(IMAGES, batch=batch, views=views, labelled=False, look=look, pixels=True)}


class ImagesAlone(Config):
    """Settings of a pretext task that makes all it needs out of single images, and owns all that it adds."""

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return one stream, "images"."""
        return images()

    def tasks(self, dims: int) -> Mapping[str, Task]:
        """Return no head: what stands behind the encoder is the criterion's."""
        return {}


def pixels(batch: Mapping[str, Batch]) -> Tensor:
    """Return the images (B, C, *S) of the stream "images"."""
    image = batch[IMAGES].image
    assert isinstance(image, Tensor), "pixels were asked for"
    return image


def answered(logits: Tensor, y: Tensor) -> Loss:
    """Return the cross-entropy of logits (B, K) for the drawn answers (B,); parts: accuracy and chance."""
    logits = logits.float()
    right = (logits.argmax(1) == y).float().mean()
    return Loss(F.cross_entropy(logits, y), {"accuracy": right.detach(), "chance": torch.tensor(1 / logits.shape[1])})
