"""NetSpec: which network, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from allograft.core.config import Config

__all__ = ["NetSpec"]


class NetSpec(Config):
    """Names a network completely; the same spec and seed give the same tensors.

    Args:
        encoder: name in `allograft.catalog.ENCODERS`, "timm:NAME" or "monai:NAME"; in 3-D also "timm-slice:NAME".
        dims: 2 or 3.
        in_channels: input channels, >= 1; None takes the data's.
        decoder: name in `allograft.catalog.DECODERS` for segmentation, "" for classification.
        width: multiplies channel counts where the encoder offers it, 1 is the paper's.
        dropout: probability on the pooled features before the head, in [0, 1).
        drop_path: largest stochastic-depth rate, in [0, 1).
    """

    encoder: str
    dims: Literal[2, 3] = 2
    in_channels: int | None = Field(default=None, ge=1)
    decoder: str = ""
    width: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
