"""NetSpec: which network, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from allograft.core.config import Config

__all__ = ["NetSpec", "Pooling"]

Pooling = Literal["mean", "slice_mean", "slice_max", "slice_attention"]
"""How the deepest features of an image become one judgement of it."""


class NetSpec(Config):
    """Names a network completely; the same spec and seed give the same tensors.

    Args:
        encoder: name in `allograft.catalog.ENCODERS`, "timm:NAME" or "monai:NAME"; in 3-D also "timm-slice:NAME".
        dims: 2 or 3.
        in_channels: input channels, >= 1; None takes the data's.
        until: last stage of the encoder that is kept ("stage2"); what lies behind is cut off. Empty keeps all.
        pool: what a classifying head sees: "mean" of all positions; of volumes whose encoder keeps slices apart
            also "slice_mean" (of the slices' probabilities), "slice_max" (of their logits) or "slice_attention"
            (gated attention over slices).
        decoder: name in `allograft.catalog.DECODERS` for segmentation, "" for classification.
        width: multiplies channel counts where the encoder offers it, 1 is the paper's.
        dropout: probability on the pooled features before the head, in [0, 1).
        drop_path: largest stochastic-depth rate, in [0, 1).
    """

    encoder: str
    dims: Literal[2, 3] = 2
    in_channels: int | None = Field(default=None, ge=1)
    until: str = ""
    pool: Pooling = "mean"
    decoder: str = ""
    width: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
