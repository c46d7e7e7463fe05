"""CBR: plain small networks of convolution, batch norm and ReLU, for 2 and 3 dimensions.

Raghu, Zhang, Kleinberg, Bengio. Transfusion. NeurIPS 2019. arXiv:1902.07208

A unit is convolution (stride 1, size kept) -> batch norm -> ReLU -> max pooling 3, stride 2; in the tall net
the last unit does not pool. The paper's text and its table disagree on Tiny: the text's channels are
64 to 512, the table's parameter count needs 32 to 256. Both are here: `cbr_tiny` is the table's,
`cbr_tiny_wide` the text's.

Differs: the pooling is padded by 1 on both sides, convolutions have no bias and start Kaiming normal, fan-out
(ours; the paper says neither).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import conv, init_kaiming, max_pool, norm, scaled
from allograft.nets.network import Stage

__all__ = ["CBR", "CBR_FORMS", "CBRForm"]


class CBRForm(NamedTuple):
    """A member of the family: kernel size, channels of each unit, whether the last unit pools."""

    kernel: int
    channels: tuple[int, ...]
    pool_last: bool = True


CBR_FORMS: dict[str, CBRForm] = {
    "cbr_large_t": CBRForm(7, (32, 64, 128, 256, 512), pool_last=False),
    "cbr_large_w": CBRForm(7, (64, 128, 256, 512)),
    "cbr_small": CBRForm(7, (32, 64, 128, 256)),
    "cbr_tiny": CBRForm(5, (32, 64, 128, 256)),
    "cbr_tiny_wide": CBRForm(5, (64, 128, 256, 512)),
    # For the start "slim" with until = stage1: the first two units at full width, half above.
    "cbr_large_w_slim": CBRForm(7, (64, 128, 128, 256)),
    "cbr_tiny_slim": CBRForm(5, (32, 64, 64, 128)),
}


class CBR(nn.Module):
    """A plain encoder; its levels are the units' outputs, after their pooling.

    Args:
        form: kernel and channels, e.g. `CBR_FORMS["cbr_tiny"]`.
        dims: 2 or 3.
        in_channels: channels of the image.
        width: multiplies all channel counts, rounded there; 1 is the paper's.
        drop_path: must be 0, there is no residual branch to drop.

    Raises:
        ConfigError: drop_path is not 0, or dims is unknown.
    """

    def __init__(
        self, form: CBRForm, *, dims: int = 2, in_channels: int = 3, width: float = 1.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        if drop_path:
            msg = (
                f"drop_path: CBR nets have no residual branches to drop, got {drop_path:g}. "
                "Set it to 0, use dropout, or take a ResNet."
            )
            raise ConfigError(msg)
        self.dims, self.in_channels = dims, in_channels
        self.channels = tuple(scaled(c, width) for c in form.channels)
        last = len(form.channels) - 1
        pools = [i < last or form.pool_last for i in range(last + 1)]
        self.strides = tuple(2 ** sum(pools[: i + 1]) for i in range(last + 1))
        for i, pool in enumerate(pools):
            pair = (self.channels[i - 1] if i else in_channels, self.channels[i])
            self.add_module(f"unit{i + 1}", Unit(dims, pair, form.kernel, pool=pool))
        init_kaiming(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one level per unit for images (B, C, *S)."""
        levels = []
        for unit in self.children():
            x = unit(x)
            levels.append(x)
        return tuple(levels)

    def stages(self) -> tuple[Stage, ...]:
        """Return the first unit as stem and each further one as a stage."""
        names = ["stem", *(f"stage{i}" for i in range(1, len(self.channels)))]
        return tuple(Stage(name, (f"unit{i + 1}",)) for i, name in enumerate(names))


class Unit(nn.Module):
    """Convolution, batch norm, ReLU and, where `pool`, max pooling 3 with stride 2.

    Args:
        dims: 2 or 3.
        channels: in and out.
        kernel: odd size along every axis.
        pool: whether it halves the size.
    """

    def __init__(self, dims: int, channels: tuple[int, int], kernel: int, *, pool: bool) -> None:
        super().__init__()
        self.conv = conv(dims, channels, kernel)
        self.bn = norm(dims, channels[1])
        self.relu = nn.ReLU(inplace=True)
        self.pool = max_pool(dims, 3, stride=2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, *S) or half that size."""
        out: Tensor = self.pool(self.relu(self.bn(self.conv(x))))
        return out
