"""MONAI's segmentation networks as encoders with one level; the only file of nets that imports MONAI.

A network is built whole and its last 1 x 1 convolution left out: that is the network's own head here. What
remains is a level of the image's resolution, which the decoder "same" hands on. Tensors are `model.` + MONAI's
own names, so a MONAI checkpoint fits by name (its last convolution is dropped).

Settings, fixed here: DynUNet is nnU-Net's plain U-Net (kernels 3, strides 1, 2, 2, 2, 2, instance norm, 32 to
320 filters in 3-D, 512 in 2-D, no deep supervision); SegResNet has 16 filters and blocks 1, 2, 2, 4 / 1, 1, 1;
SwinUNETR has feature size 24; an axis of its patches at least must be 64, or its deepest norm has one element.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple, cast

import torch
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.swin_unetr import SwinUNETR
from torch import Tensor, nn

from allograft.core.errors import ConfigError, MissingExtra, did_you_mean
from allograft.nets.layers import scaled
from allograft.nets.network import Stage

__all__ = ["MONAI_NETS", "MonaiEncoder"]


class _Made(NamedTuple):
    """A network without its last convolution: channels, what its size must be a multiple of, its stages."""

    model: nn.Module
    channels: int
    multiple: int
    stages: tuple[Stage, ...]


class MonaiEncoder(nn.Module):
    """A MONAI network behind the encoder contract.

    Args:
        name: "DynUNet", "SegResNet" or "SwinUNETR".
        dims: 2 or 3.
        in_channels: channels of the image.
        width: multiplies the filters; SegResNet's must stay a multiple of 8, SwinUNETR's of 12.
        drop_path: stochastic-depth rate, for SwinUNETR only.

    Raises:
        ConfigError: no such network, or a setting that it does not offer.
        MissingExtra: SwinUNETR without the package einops.
    """

    def __init__(
        self, name: str, *, dims: int = 3, in_channels: int = 1, width: float = 1.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        if name not in MONAI_NETS:
            msg = f'encoder "monai:{name}": not among those adapted. {did_you_mean(name, MONAI_NETS)}'
            raise ConfigError(msg)
        if dims not in {2, 3}:
            msg = f"dims: expected 2 or 3, got {dims!r}. Set dims in the net's settings."
            raise ConfigError(msg)
        if drop_path and name != "SwinUNETR":
            msg = f"drop_path: monai:{name} has no stochastic depth, got {drop_path:g}. Set it to 0."
            raise ConfigError(msg)
        made = MONAI_NETS[name](dims, in_channels, width, drop_path)
        self.name, self.dims, self.in_channels = name, dims, in_channels
        self.channels, self.strides = (made.channels,), (1,)
        self.model, self.multiple, self._stages = made.model, made.multiple, made.stages

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one level (B, channels, *S) for images (B, C, *S).

        Raises:
            ConfigError: the size is not what the network can halve.
        """
        if any(n % self.multiple for n in x.shape[2:]):
            msg = (
                f"monai:{self.name} takes sizes that are multiples of {self.multiple}, got {tuple(x.shape[2:])}. "
                "Choose such a patch size."
            )
            raise ConfigError(msg)
        return (cast("Tensor", self.model(x)),)

    def stages(self) -> tuple[Stage, ...]:
        """Return stem, stage1 and so on down the network, and "up" for its way up."""
        return self._stages


def _dynunet(dims: int, in_channels: int, width: float, drop_path: float) -> _Made:
    filters = [scaled(min(32 * 2**i, 320 if dims == 3 else 512), width) for i in range(5)]
    strides = (1, 2, 2, 2, 2)
    model: Any = DynUNet(
        dims, in_channels, 1, kernel_size=(3,) * 5, strides=strides, upsample_kernel_size=strides[1:], filters=filters
    )
    # MONAI lists its blocks a second time as nested skip layers; as a plain attribute they have no second names.
    skips = model.skip_layers
    del model.skip_layers
    model.__dict__["skip_layers"] = skips
    model.output_block = nn.Identity()
    down = tuple(f"downsamples.{i}" for i in range(3))
    return _Made(model, filters[0], 16, _stages("input_block", (*down, "bottleneck"), ("upsamples",)))


def _segresnet(dims: int, in_channels: int, width: float, drop_path: float) -> _Made:
    filters = scaled(16, width)
    _require_multiple("SegResNet", filters, 8)
    model: Any = SegResNet(dims, init_filters=filters, in_channels=in_channels, out_channels=1)
    model.conv_final[2] = nn.Identity()
    down = tuple(f"down_layers.{i}" for i in range(4))
    return _Made(model, filters, 8, _stages("convInit", down, ("up_layers", "up_samples", "conv_final")))


def _swinunetr(dims: int, in_channels: int, width: float, drop_path: float) -> _Made:
    filters = scaled(24, width)
    _require_multiple("SwinUNETR", filters, 12)
    if find_spec("einops") is None:  # MONAI would say so at the first image only
        feature, package, extra = 'the encoder "monai:SwinUNETR"', "einops", "swin"
        raise MissingExtra(feature, package, extra)
    place = torch.get_default_device()
    with torch.device("cpu"):  # MONAI reads numbers while it builds, which the meta device does not have
        model: Any = SwinUNETR(in_channels, 1, feature_size=filters, spatial_dims=dims, dropout_path_rate=drop_path)
    model.out = nn.Identity()
    model = model.to(place)
    down = tuple(f"swinViT.layers{i}" for i in range(1, 5))
    up = tuple(name for name, _ in model.named_children() if name.startswith(("encoder", "decoder")))
    return _Made(model, filters, 32, _stages("swinViT.patch_embed", down, up))


MONAI_NETS: dict[str, Callable[[int, int, float, float], _Made]] = {
    "DynUNet": _dynunet,
    "SegResNet": _segresnet,
    "SwinUNETR": _swinunetr,
}
"""What builds each network from dims, in_channels, width and drop_path."""


def _stages(stem: str, down: tuple[str, ...], up: tuple[str, ...]) -> tuple[Stage, ...]:
    rest = [Stage(f"stage{i + 1}", (f"model.{name}",)) for i, name in enumerate(down)]
    return (Stage("stem", (f"model.{stem}",)), *rest, Stage("up", tuple(f"model.{name}" for name in up)))


def _require_multiple(name: str, filters: int, of: int) -> None:
    if filters % of:
        msg = f"width: monai:{name} needs filters that are a multiple of {of}, got {filters}. Choose another width."
        raise ConfigError(msg)
