"""SCGM: a network without pooling, dilated branches side by side, for spinal cord grey matter and vertebrae.

Perone, Calabrese, Cohen-Adad. Spinal cord gray matter segmentation using deep dilated convolutions.
Scientific Reports 2018. arXiv:1710.01269

Two convolutions of kernel 3 and two dilated by 2, then side by side: kernel 3 and kernel 1; two convolutions
each dilated by 6, 12, 18, 24; the trunk's mean over the image. Joined (6 x 32) -> batch norm -> dropout ->
kernel 1 (64) -> head. After each convolution ReLU, batch norm, dropout 0.4. With one channel and one output
it counts 126,177 numbers, 127,585 with running statistics. Tensors are named as in the authors' PyTorch code.

Differs: none in 2-D. The same code runs in 3-D. The mean is that of what the network sees: of the patch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import conv, dropout, init_kaiming, norm, scaled
from allograft.nets.network import Stage

__all__ = ["SCGM"]

_TRUNK = {"conv1a": 1, "conv1b": 1, "conv2a": 2, "conv2b": 2}
_BRANCHES = {"branch1": 1, "branch2": 6, "branch3": 12, "branch4": 18, "branch5": 24}


class SCGM(nn.Module):
    """The network up to its last 1 x 1 convolution: one level of the image's resolution, decoder "same".

    Args:
        dims: 2 or 3.
        in_channels: channels of the image.
        width: multiplies all channel counts (32, and 64 at the end), rounded there; 1 is the paper's.
        drop_path: must be 0, there is no residual branch to drop.
        rate: of the dropout of whole channels, in [0, 1); 0.4 is the paper's.

    Raises:
        ConfigError: drop_path is not 0, or dims is unknown.
    """

    def __init__(
        self,
        *,
        dims: int = 2,
        in_channels: int = 1,
        width: float = 1.0,
        drop_path: float = 0.0,
        rate: float = 0.4,
    ) -> None:
        super().__init__()
        if drop_path:
            msg = f"drop_path: SCGM has no residual branches to drop, got {drop_path:g}. Set it to 0."
            raise ConfigError(msg)
        self.dims, self.in_channels, self.strides = dims, in_channels, (1,)
        narrow, wide = scaled(32, width), scaled(64, width)
        self.channels = (wide,)
        inside = in_channels
        for name, dilation in _TRUNK.items():
            self._unit(name, (inside, narrow), (3, dilation), rate)
            inside = narrow
        for name, dilation in _BRANCHES.items():
            self._unit(f"{name}a", (narrow, narrow), (3, dilation), rate)
            self._unit(f"{name}b", (narrow, narrow), (1, 1) if dilation == 1 else (3, dilation), rate)
        self.concat_bn = norm(dims, 6 * narrow)
        self.concat_drop = dropout(dims, rate)
        self._unit("amort", (6 * narrow, wide), (1, 1), rate)
        init_kaiming(self)

    def _unit(self, name: str, channels: tuple[int, int], form: tuple[int, int], rate: float) -> None:
        """Add a convolution of (kernel, dilation) with its norm and dropout under the authors' names."""
        kernel, dilation = form
        self.add_module(name, conv(self.dims, channels, kernel, dilation=dilation, bias=True))
        self.add_module(f"{name}_bn", norm(self.dims, channels[1]))
        self.add_module(f"{name}_drop", dropout(self.dims, rate))

    def _run(self, name: str, x: Tensor) -> Tensor:
        normed = self.get_submodule(f"{name}_bn")(torch.relu(self.get_submodule(name)(x)))
        out: Tensor = self.get_submodule(f"{name}_drop")(normed)
        return out

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one level (B, 64, *S) for images (B, C, *S)."""
        for name in _TRUNK:
            x = self._run(name, x)
        found = [self._run(f"{name}b", self._run(f"{name}a", x)) for name in _BRANCHES]
        mean = x.mean(tuple(range(2, x.ndim)), keepdim=True).expand_as(x)
        joined = self.concat_drop(self.concat_bn(torch.cat([*found, mean], dim=1)))
        return (self._run("amort", joined),)

    def stages(self) -> tuple[Stage, ...]:
        """Return the first convolution as stem, the trunk's rest, the branches, and what joins them."""
        groups = {
            "stem": ("conv1a",),
            "stage1": ("conv1b", "conv2a", "conv2b"),
            "stage2": tuple(f"{name}{half}" for name in _BRANCHES for half in "ab"),
            "stage3": ("amort",),
        }
        stages = [Stage(name, tuple(n + end for n in names for end in ("", "_bn"))) for name, names in groups.items()]
        stages[-1] = stages[-1]._replace(prefixes=("concat_bn", *stages[-1].prefixes))
        return tuple(stages)
