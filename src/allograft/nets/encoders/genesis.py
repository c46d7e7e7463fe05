"""Models Genesis' U-Net: its way down; the way up is nets/decoders/genesis.py.

Zhou and others. Models Genesis. MICCAI 2019, Medical Image Analysis 2021. arXiv:1908.06912

Four levels of two convolutions of kernel 3 with bias, each followed by batch norm and ReLU: in -> 32 -> 64,
64 -> 64 -> 128, 128 -> 128 -> 256, 256 -> 256 -> 512, max pooling of 2 between them. In 3-D with one channel the
encoder counts 7,027,776 numbers, both parts with one output 19,073,665. Tensors are named as in the public
checkpoint (`down_tr64.ops.0.conv1.weight`), whose licence is non-commercial: the architecture follows
the paper's description, weights are not shipped.

Differs: norms use their running statistics in evaluation, as everywhere; the released code always takes
those of the batch, so that its results depend on batch mates. 2-D by the same code.
"""

from __future__ import annotations

from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import conv, init_kaiming, max_pool, norm, scaled
from allograft.nets.network import Stage

__all__ = ["Genesis", "GenesisUnit", "genesis_pair"]


class Genesis(nn.Module):
    """The encoder; its levels are the units' outputs before pooling.

    Args:
        dims: 2 or 3.
        in_channels: channels of the image.
        width: multiplies all channel counts (64 to 512), rounded there; 1 is the paper's.
        drop_path: must be 0, there is no residual branch to drop.

    Raises:
        ConfigError: drop_path is not 0, or dims is unknown.
    """

    def __init__(self, *, dims: int = 3, in_channels: int = 1, width: float = 1.0, drop_path: float = 0.0) -> None:
        super().__init__()
        if drop_path:
            msg = f"drop_path: the Genesis U-Net has no residual branches to drop, got {drop_path:g}. Set it to 0."
            raise ConfigError(msg)
        self.dims, self.in_channels = dims, in_channels
        self.channels = tuple(scaled(c, width) for c in (64, 128, 256, 512))
        self.strides = (1, 2, 4, 8)
        for name, inside, out in zip(_NAMES, (in_channels, *self.channels), self.channels, strict=False):
            self.add_module(name, _Level(genesis_pair(dims, inside, max(1, out // 2), out)))
        self.pool = max_pool(dims, 2, stride=2)
        init_kaiming(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return four levels for images (B, C, *S)."""
        levels: list[Tensor] = []
        for name in _NAMES:
            x = self.get_submodule(name)(self.pool(x) if levels else x)
            levels.append(x)
        return tuple(levels)

    def stages(self) -> tuple[Stage, ...]:
        """Return the first level as stem and each further one as a stage."""
        names = ("stem", "stage1", "stage2", "stage3")
        return tuple(Stage(stage, (name,)) for stage, name in zip(names, _NAMES, strict=True))


_NAMES = ("down_tr64", "down_tr128", "down_tr256", "down_tr512")


class _Level(nn.Module):
    """Two units under the checkpoint's name; a module of its own, so that levels can be cut off."""

    def __init__(self, ops: nn.Sequential) -> None:
        super().__init__()
        self.ops = ops

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, *S)."""
        out: Tensor = self.ops(x)
        return out


class GenesisUnit(nn.Module):
    """Convolution 3 with bias, batch norm, ReLU.

    Args:
        dims: 2 or 3.
        channels: in and out.
    """

    def __init__(self, dims: int, channels: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = conv(dims, channels, 3, bias=True)
        self.bn1 = norm(dims, channels[1])
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, *S)."""
        out: Tensor = self.activation(self.bn1(self.conv1(x)))
        return out


def genesis_pair(dims: int, inside: int, middle: int, out: int) -> nn.Sequential:
    """Return two units, inside -> middle -> out channels."""
    return nn.Sequential(GenesisUnit(dims, (inside, middle)), GenesisUnit(dims, (middle, out)))
