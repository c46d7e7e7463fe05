"""Tiny networks: a few hundred numbers, all kinds of tensors, the same code in 2-D and 3-D."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from allograft.nets.network import Head, Network, Stage

__all__ = ["TinyEncoder", "tiny_net"]

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class TinyEncoder(nn.Module):
    """A stem and some stages of convolution, normalisation, ReLU; each stage halves the size.

    Args:
        dims: 2 or 3.
        in_channels: channels of the image.
        widths: channels of the stem and of each stage.
        norm: "batch" or "none" (then convolutions have a bias if `bias`).
        bias: whether convolutions have a bias.
    """

    def __init__(
        self,
        dims: int,
        *,
        in_channels: int = 3,
        widths: tuple[int, ...] = (4, 6, 8),
        norm: Literal["batch", "none"] = "batch",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.dims, self.in_channels = dims, in_channels
        self.channels = widths
        self.strides = tuple(2**i for i in range(len(widths)))
        inside = in_channels
        for i, width in enumerate(widths):
            layer = CONV[dims](inside, width, 5 if i == 0 else 3, 1 if i == 0 else 2, 2 if i == 0 else 1, bias=bias)
            after = BATCH_NORM[dims](width) if norm == "batch" else nn.Identity()
            self.add_module(self._module(i), nn.ModuleDict({"conv": layer, "norm": after}))
            inside = width

    @staticmethod
    def _module(i: int) -> str:
        return "stem" if i == 0 else f"layer{i}"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return a level per stage for images (B, C, *S)."""
        levels: list[Tensor] = []
        for i in range(len(self.channels)):
            block = self.get_submodule(self._module(i))
            x = torch.relu(block.get_submodule("norm")(block.get_submodule("conv")(x)))
            levels.append(x)
        return tuple(levels)

    def stages(self) -> tuple[Stage, ...]:
        """Return stem, stage1, stage2, ..."""
        names = ["stem", *(f"stage{i}" for i in range(1, len(self.channels)))]
        return tuple(Stage(name, (self._module(i),)) for i, name in enumerate(names))


class _Linear(Head):
    """A linear map of the pooled features (B, F) to (B, O)."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs)

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        out: Tensor = self.linear(pooled)
        return out


class _Pixelwise(Head):
    """A 1 x 1 convolution of the decoded features (B, C, *S) to (B, O, *S)."""

    def __init__(self, dims: int, features: int, outputs: int) -> None:
        super().__init__()
        self.conv = CONV[dims](features, outputs, 1)

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        assert decoded is not None, "a pixelwise head stands behind a decoder"
        out: Tensor = self.conv(decoded)
        return out


class _Decoder(nn.Module):
    """A convolution on the first level, which has the image's size."""

    def __init__(self, dims: int, features: int) -> None:
        super().__init__()
        self.channels = 4
        self.conv = CONV[dims](features, self.channels, 3, 1, 1)

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        out: Tensor = self.conv(levels[0])
        return out


def tiny_net(  # noqa: PLR0913 - each names one way in which test networks differ
    dims: int,
    *,
    seed: int = 0,
    in_channels: int = 3,
    outputs: int = 2,
    widths: tuple[int, ...] = (4, 6, 8),
    norm: Literal["batch", "none"] = "batch",
    bias: bool = True,
    decoder: bool = False,
) -> Network:
    """Return a tiny network whose tensors depend on the seed only; torch's global state stays.

    Args:
        dims: 2 or 3.
        seed: of the initial values.
        in_channels: channels of the image.
        outputs: logits of the head "label".
        widths: channels of the stem and of each stage.
        norm: "batch" or "none".
        bias: whether convolutions have a bias.
        decoder: whether a decoder and a pixelwise head replace the pooled head.

    >>> [stage.name for stage in tiny_net(2).stages()]
    ['stem', 'stage1', 'stage2', 'head.label']
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = TinyEncoder(dims, in_channels=in_channels, widths=widths, norm=norm, bias=bias)
        if decoder:
            return Network(encoder, {"label": _Pixelwise(dims, 4, outputs)}, _Decoder(dims, widths[0]))
        return Network(encoder, {"label": _Linear(widths[-1], outputs)})
