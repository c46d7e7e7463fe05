"""Models Genesis' U-Net: its way up; see nets/encoders/genesis.py for the paper and the counts.

Three steps of transposed convolution 2 (channels kept), joining the level of that size, and two units of
convolution 3, batch norm, ReLU: 512 -> 256 -> 128 -> 64 channels. Tensors are named as in the public
checkpoint (`up_tr256.up_conv.weight`); its `out_tr` is the network's head.

Differs: any encoder whose levels double will do (Models Genesis' has four); a level of stride 1 must be
there, as in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.encoders.genesis import genesis_pair
from allograft.nets.layers import init_kaiming, up_conv
from allograft.nets.network import Encoder, axis_strides

__all__ = ["GenesisDecoder"]

_NAMES = ("up_tr256", "up_tr128", "up_tr64")


class GenesisDecoder(nn.Module):
    """The decoder.

    Args:
        encoder: has four levels of strides 1, 2, 4 and 8.

    Raises:
        ConfigError: the encoder has other levels.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        dims, levels = encoder.dims, encoder.channels
        if axis_strides(encoder) != tuple((stride,) * dims for stride in (1, 2, 4, 8)):
            msg = (
                f'decoder "genesis" needs four levels of strides 1, 2, 4, 8, got {encoder.strides}. '
                'Take the encoder "genesis", or the decoder "unet".'
            )
            raise ConfigError(msg)
        for name, inside, out in zip(_NAMES, levels[:0:-1], levels[-2::-1], strict=True):
            ops = genesis_pair(dims, inside + out, out, out)
            self.add_module(name, nn.ModuleDict({"up_conv": up_conv(dims, (inside, inside), 2), "ops": ops}))
        self.channels = levels[0]
        init_kaiming(self)

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return (B, channels, *S) for four levels."""
        x = levels[-1]
        for name, skip in zip(_NAMES, levels[-2::-1], strict=True):
            up = self.get_submodule(f"{name}.up_conv")(x)
            x = self.get_submodule(f"{name}.ops")(torch.cat([up, skip], dim=1))
        return x
