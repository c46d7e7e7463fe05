"""NetSpec: which network, as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from allograft.core.config import Config
from allograft.core.task import Task

__all__ = ["Bag", "NetSpec", "Pooling"]

Pooling = Literal[
    "mean",
    "slice_mean",
    "slice_max",
    "slice_attention",
    "max",
    "lse",
    "top_k",
    "noisy_or",
    "attention",
    "gated_attention",
]
"""How the deepest features of an image become one judgement of it."""

TILE, SHARPNESS, COUNTED = 32, 1.0, 3
"""Where a bag does not say: elements along a tile's axes, r of "lse", k of "top_k" (all ours)."""


class Bag(Config):
    """An image as a bag of instances that the encoder sees one by one: multiple-instance learning.

    Args:
        of: "slices" of a volume, seen by a 2-D encoder, or "tiles" of a picture or volume.
        size: of a tile, elements along every axis or along each, slowest first, >= 4; None takes 32. An image that is
            no multiple grows at its end by copies of its last elements.
        level: what is pooled, the instances' features ("embedding") or their judgements ("instance").
        r: sharpness of the pooling "lse", > 0; None takes 1.
        k: instances that the pooling "top_k" counts, >= 1; None takes 3.
        skip_blank: leave out instances without content (all elements alike in each channel), such as padding.
    """

    of: Literal["slices", "tiles"]
    size: int | tuple[int, ...] | None = None
    level: Literal["embedding", "instance"] = "embedding"
    r: float | None = Field(default=None, gt=0)
    k: int | None = Field(default=None, ge=1)
    skip_blank: bool = False

    @model_validator(mode="after")
    def _size_fits(self) -> Self:
        if self.of == "slices" and self.size is not None:
            msg = f"size {self.size} is of tiles; slices are as large as the volume. Leave it out"
            raise ValueError(msg)
        if any(n < 4 for n in ((self.size,) if isinstance(self.size, int) else self.size or ())):
            msg = f"size: a tile has at least 4 elements along each axis, got {self.size}"
            raise ValueError(msg)
        return self

    def tile(self, dims: int) -> tuple[int, ...]:
        """Return the size of a tile along each of the axes of an image, () for slices."""
        if self.of == "slices":
            return ()
        return self.size if isinstance(self.size, tuple) else (self.size or TILE,) * dims


class NetSpec(Config):
    """Names a network completely; the same spec and seed give the same tensors.

    Args:
        encoder: name in `allograft.catalog.ENCODERS`, "timm:NAME" or "monai:NAME"; in 3-D also "timm-slice:NAME".
        dims: 2 or 3.
        in_channels: input channels, >= 1; None takes the data's.
        until: last stage of the encoder that is kept ("stage2"); what lies behind is cut off. Empty keeps all.
        pool: what a classifying head sees: "mean" of all positions; of volumes whose encoder keeps slices apart
            also "slice_mean" (of the slices' probabilities), "slice_max" (of their logits) or "slice_attention"
            (gated attention over slices). Of the instances of a `bag` "mean", "max", "lse" (log-sum-exp), "top_k" (mean
            of the largest), "noisy_or", "attention" or "gated_attention".
        bag: cut each image into instances, of slices or tiles; None shows the encoder the whole.
        decoder: name in `allograft.catalog.DECODERS` for segmentation, "" for classification.
        width: multiplies channel counts where the encoder offers it, 1 is the paper's.
        dropout: probability on the pooled features before the head, in [0, 1).
        drop_path: largest stochastic-depth rate, in [0, 1).
        anchors: cases that a kernel head compares an image with, 0 for a linear head. Procedures that write such a head
            (tca) set it; a recipe cannot, for nothing would fill it.
    """

    encoder: str
    dims: Literal[2, 3] = 2
    in_channels: int | None = Field(default=None, ge=1)
    until: str = ""
    pool: Pooling = "mean"
    bag: Bag | None = None
    decoder: str = ""
    width: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    anchors: int = Field(default=0, ge=0)

    def takes_weights_of(self, other: NetSpec) -> bool:
        """Tell whether weights for another spec's encoder are weights for this one's."""
        return all(getattr(self, part) == getattr(other, part) for part in ("encoder", "width", "until"))

    @model_validator(mode="after")
    def _bag_fits(self) -> Self:
        slicewise = self.pool.startswith("slice_")
        if self.bag is None:
            if self.pool != "mean" and not slicewise:
                msg = f'pool "{self.pool}" pools the instances of a bag; say which, like bag: {{of: tiles, size: 32}}'
                raise ValueError(msg)
            return self
        if slicewise:
            msg = f'pool "{self.pool}" is for encoders that keep slices apart; a bag takes {self.pool[6:]!r} and level'
            raise ValueError(msg)
        if self.bag.of == "slices" and self.dims != 3:
            msg = "bag.of: slices are of volumes (dims: 3); cut pictures into tiles"
            raise ValueError(msg)
        if isinstance(self.bag.size, tuple) and len(self.bag.size) != self.dims:
            msg = f"bag.size has {len(self.bag.size)} axes, the images have {self.dims}"
            raise ValueError(msg)
        for name, pool in (("r", "lse"), ("k", "top_k")):
            if getattr(self.bag, name) is not None and self.pool != pool:
                msg = f'bag.{name} belongs to the pooling "{pool}"; this one is "{self.pool}"'
                raise ValueError(msg)
        return self

    def for_tasks(self, tasks: Iterable[Task]) -> Self:
        """Return the network of these tasks: without its decoder where none of them judges every element."""
        return self if any(task.dense for task in tasks) else self.model_copy(update={"decoder": ""})
