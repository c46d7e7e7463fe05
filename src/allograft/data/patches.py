"""Patches: the boxes that training reads from stored images, and how a whole image is covered with them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from allograft.core.config import Config

__all__ = ["Patches"]


class Patches(Config):
    """Size and place of the boxes that a segmentation network sees, in training and in prediction.

    Args:
        size: elements along each axis, slowest first, 2 or 3 of them, each >= 1.
        foreground: share of the training patches that are centred on an element of a class that is
            not background, each class that the case holds equally often, in [0, 1].
        overlap: of neighbouring windows when a whole image is predicted, share of the size, in [0, 1).
        blend: how windows are weighed where they overlap: "gaussian" (deviation an eighth of the
            size) or "constant".
        mirror: axes to average mirrored predictions over, counted from the slowest; empty for none.
        batch: windows in one forward pass, >= 1.
    """

    size: tuple[int, ...]
    foreground: float = Field(default=1 / 3, ge=0, le=1)
    overlap: float = Field(default=0.5, ge=0, lt=1)
    blend: Literal["gaussian", "constant"] = "gaussian"
    mirror: tuple[int, ...] = ()
    batch: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.size) not in {2, 3} or min(self.size) < 1:
            msg = f"size has 2 or 3 axes of at least 1, got {self.size}"
            raise ValueError(msg)
        if len(set(self.mirror)) != len(self.mirror) or any(not 0 <= axis < len(self.size) for axis in self.mirror):
            msg = f"mirror names axes 0 to {len(self.size) - 1}, each once, got {self.mirror}"
            raise ValueError(msg)
        return self
