"""Aligned features: where objectives that draw two domains together look at them, as rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor

from allograft.contracts import StreamSpec
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.nets.network import Decoder, Network, Output, axis_strides
from allograft.objectives.two_domains import TwoDomains

__all__ = ["Aligning", "Eye", "Level", "rows"]

Level = Literal["pooled", "deepest", "decoded", "logits"]


class Aligning(TwoDomains):
    """Settings of an objective that compares features of two domains.

    Args:
        level: what is compared. "pooled": the encoder's deepest level as a head for whole images sees it. "deepest":
            the positions of that level. "decoded": the positions of the decoder's features, which skips have
            reached too. "logits": what the head says. None takes "pooled" for whole images, "deepest" in a
            segmentation.
        positions: how many positions are drawn in each step, the same of every case, >= 1; fewer are all taken.
    """

    level: Level | None = None
    positions: int = Field(default=64, ge=1)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled source cases and target cases whose targets nobody reads."""
        return self.domains(pixels=self.level == "deepest")

    def eye(self, net: Network, task: Task) -> Eye:
        """Return what looks at the level.

        Raises:
            ConfigError: there is no decoder whose features could be compared.
        """
        level, deepest = self.level or ("deepest" if task.dense else "pooled"), -1
        channels = net.shape.channels
        if level == "decoded":
            if net.decoder is None:
                msg = 'level: "decoded" are features of a decoder, this network has none. Take "pooled" or "deepest".'
                raise ConfigError(msg)
            return Eye(level, deepest, task.head, cast("Decoder", net.decoder).channels)
        if level == "logits":
            return Eye(level, deepest, task.head, task.outputs)
        if net.decoder is not None and level == "deepest":  # a level of one position is no part of a segmentation
            strides = axis_strides(net.shape)
            deepest = max(i for i, each in enumerate(strides) if min(each) > 0) - len(strides)
        return Eye(level, deepest, task.head, channels[deepest])


class Eye(NamedTuple):
    """Looks at a level of an output.

    Attributes:
        level: which.
        place: of the encoder's level, counted from the deepest (-1).
        head: whose logits.
        features: channels F.
    """

    level: Level
    place: int
    head: str
    features: int

    def __call__(self, out: Output) -> Tensor:
        """Return (B, F), or (B, F, *s) of a level with positions."""
        if self.level == "pooled":
            return out.pooled
        if self.level == "logits":
            return out.logits[self.head]
        return out.decoded[-1] if self.level == "decoded" else out.levels[self.place]


def rows(maps: Tensor, most: int) -> Tensor:
    """Return (N, F), a row for every case and position of maps (B, F) or (B, F, *s).

    Args:
        maps: (B, F) or (B, F, *s).
        most: of more positions than this so many are drawn, the same of every case.
    """
    if maps.ndim == 2:
        return maps
    flat = maps.flatten(2)
    if flat.shape[2] > most:
        flat = flat[:, :, torch.randperm(flat.shape[2], device=flat.device)[:most]]
    return flat.movedim(1, 2).flatten(0, 1)
