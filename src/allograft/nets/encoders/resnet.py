"""ResNet of any depth for 2 and 3 dimensions: torchvision's, MedicalNet's, slice by slice, for videos or small images.

One class, six variants; tensor names are torchvision's in all of them:

- "torchvision": stem 7, stride 2, max pooling; stages of stride 1, 2, 2, 2; projection shortcuts; in
  a bottleneck the stride lies on the middle convolution. Depths 10 and 200 follow the same rule.
- "medicalnet": stages 3 and 4 keep stride 1 and are dilated by 2 and 4 instead; depths 18 and 34
  have shortcuts without weights (type A). Names and shapes alone cannot tell its files from those of
  the first variant, though the functions differ.
- "slice": torchvision's with kernels 1 x k x k, strides (1, s, s) and, in place of the pooling of 3,
  one of (1, 2, 2): each slice of a volume is encoded alone, as the 2-D net of this variant does it, and
  2-D weights load unchanged (start "full", whatever its fill). The depth is never reduced.
- "inflated": torchvision's with a stem of 3 x 7 x 7 and stride (1, 2, 2), so that the depth is halved one time
  less: the geometry of Merlin's I3ResNet-152. In 2-D it is torchvision's.
- "kinetics": torchvision's with stride (1, 2, 2) on a stem of 7 x 7 x 7: the geometry of 3D-ResNets-PyTorch, which
  Med3D compares with; depths 18 and 34 have type-A shortcuts. The depth of the array is the time of the videos.
- "small": stem 3, stride 1, no pooling, for images of about 32 pixels. No public file follows it.

Papers: He, Zhang, Ren, Sun. CVPR 2016. arXiv:1512.03385. Chen, Ma, Zheng. arXiv:1904.00625. Wacker, Ladeira,
Nascimento. arXiv:1912.12452 ("slice"). Hara, Kataoka, Satoh. arXiv:1711.09577 ("kinetics").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import DropPath, Extent, conv, in_plane, init_kaiming, max_pool, norm, scaled, subsample
from allograft.nets.network import Stage

__all__ = ["BLOCKS", "ResNet", "Variant"]

Variant = Literal["torchvision", "medicalnet", "slice", "inflated", "kinetics", "small"]

BLOCKS: dict[int, tuple[int, int, int, int]] = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Blocks of the four stages by depth; basic blocks up to depth 34, bottlenecks from 50."""

TYPE_A = {(variant, depth) for variant in ("medicalnet", "kinetics") for depth in (18, 34)}
"""Nets whose shortcuts drop positions and fill with zero channels; all others project (type B)."""


class _Form(NamedTuple):
    """What a variant fixes: the stem's kernel, stride and pooling stride, strides and dilations of the stages.

    Also the pooling's kernel, whether only the last two axes are convolved, and the stem's kernel along the depth
    where it is another (its stride there is 1 then).
    """

    kernel: int
    stride: int
    pool: int
    strides: tuple[int, int, int, int]
    dilations: tuple[int, int, int, int]
    pool_kernel: int = 3
    planar: bool = False
    stem_depth: int = 0

    def extent(self, dims: int, extent: int) -> Extent:
        """Return a kernel or stride of this size along the axes that are convolved, 1 along the others."""
        return in_plane(dims, extent) if self.planar else extent

    def stem(self, dims: int) -> tuple[Extent, Extent]:
        """Return kernel and stride of the first convolution."""
        if self.stem_depth and dims == 3:
            return (self.stem_depth, self.kernel, self.kernel), (1, self.stride, self.stride)
        return self.extent(dims, self.kernel), self.extent(dims, self.stride)


FORMS: dict[str, _Form] = {
    "torchvision": _Form(7, 2, 2, (1, 2, 2, 2), (1, 1, 1, 1)),
    "medicalnet": _Form(7, 2, 2, (1, 2, 1, 1), (1, 1, 2, 4)),
    "slice": _Form(7, 2, 2, (1, 2, 2, 2), (1, 1, 1, 1), pool_kernel=2, planar=True),
    "inflated": _Form(7, 2, 2, (1, 2, 2, 2), (1, 1, 1, 1), stem_depth=3),
    "kinetics": _Form(7, 2, 2, (1, 2, 2, 2), (1, 1, 1, 1), stem_depth=7),
    "small": _Form(3, 1, 1, (1, 2, 2, 2), (1, 1, 1, 1)),
}


class ResNet(nn.Module):
    """A residual encoder; its levels are the stem's output before pooling and the four stages.

    Args:
        depth: 10, 18, 34, 50, 101, 152 or 200.
        variant: "torchvision", "medicalnet", "slice", "inflated", "kinetics" or "small", see the module.
        dims: 2 or 3.
        in_channels: channels of the image.
        width: multiplies all channel counts (64 in the stem), rounded there; 1 is the paper's.
        drop_path: stochastic-depth rate of the last block, rising linearly from 0 at the first.
        slim: halve the channels of stages 3 and 4, for the start "slim" (Transfusion's hybrid).

    Raises:
        ConfigError: depth, variant or dims is unknown.
    """

    def __init__(
        self,
        depth: int,
        variant: Variant = "torchvision",
        *,
        dims: int = 2,
        in_channels: int = 3,
        width: float = 1.0,
        drop_path: float = 0.0,
        slim: bool = False,
    ) -> None:
        super().__init__()
        _check(depth, variant)
        form, base, expansion = FORMS[variant], scaled(64, width), 1 if depth < 50 else 4
        self.dims, self.in_channels = dims, in_channels
        widths = tuple(base * 2**i // (2 if slim and i >= 2 else 1) for i in range(4))
        self.channels: tuple[int, ...] = (base, *(width * expansion for width in widths))
        self.strides = _strides(form, dims)
        kernel, stride = form.stem(dims)
        self.conv1 = conv(dims, (in_channels, base), kernel, stride=stride)
        self.bn1 = norm(dims, base)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = _pool(form, dims)
        rates = iter(torch.linspace(0, drop_path, sum(BLOCKS[depth]), device="cpu").tolist())
        block = BasicBlock if expansion == 1 else Bottleneck
        for i, count in enumerate(BLOCKS[depth]):
            how = _how(form, dims, i, type_a=(variant, depth) in TYPE_A)
            first = block((self.channels[i], widths[i]), how, next(rates))
            rest = how._replace(stride=1)
            more = [block((self.channels[i + 1], widths[i]), rest, next(rates)) for _ in range(count - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *more))
        init_kaiming(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return five levels for images (B, C, *S)."""
        levels = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(levels[0])
        for i in range(1, 5):
            x = self._modules[f"layer{i}"](x)  # type: ignore[misc] # set in __init__, never None
            levels.append(x)
        return tuple(levels)

    def stages(self) -> tuple[Stage, ...]:
        """Return stem and stage1 to stage4."""
        return (Stage("stem", ("conv1", "bn1")), *(Stage(f"stage{i}", (f"layer{i}",)) for i in range(1, 5)))


class _How(NamedTuple):
    """How a block convolves: dimensions, kernel, stride, dilation, and whether a shortcut is type A."""

    dims: int
    kernel: Extent
    stride: Extent
    dilation: int
    type_a: bool


def _how(form: _Form, dims: int, stage: int, *, type_a: bool) -> _How:
    """Return how the first block of a stage convolves; with nothing to skip, the stride is the number 1."""
    stride = form.strides[stage]
    step = 1 if stride == 1 else form.extent(dims, stride)
    return _How(dims, form.extent(dims, 3), step, form.dilations[stage], type_a)


def _pool(form: _Form, dims: int) -> nn.Module:
    if form.pool == 1:
        return nn.Identity()
    return max_pool(dims, form.extent(dims, form.pool_kernel), stride=form.extent(dims, form.pool))


class BasicBlock(nn.Module):
    """Two convolutions of kernel 3, both dilated.

    Args:
        channels: in, and the block's width, which is also out.
        how: stride (on the first convolution), dilation and shortcut.
        rate: of dropping the branch.
    """

    def __init__(self, channels: tuple[int, int], how: _How, rate: float) -> None:
        super().__init__()
        inside, width = channels
        self.conv1 = conv(how.dims, (inside, width), how.kernel, stride=how.stride, dilation=how.dilation)
        self.bn1 = norm(how.dims, width)
        self.conv2 = conv(how.dims, (width, width), how.kernel, dilation=how.dilation)
        self.bn2 = norm(how.dims, width)
        self.relu = nn.ReLU(inplace=True)
        self.drop_path = DropPath(rate)
        self.downsample = _shortcut((inside, width), how)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, *S / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        added: Tensor = self.relu(self.drop_path(out) + self.downsample(x))
        return added


class Bottleneck(nn.Module):
    """Convolutions of kernel 1, 3 and 1; the middle one has stride and dilation.

    Args:
        channels: in, and the block's width; out is four times the width.
        how: stride, dilation and shortcut.
        rate: of dropping the branch.
    """

    def __init__(self, channels: tuple[int, int], how: _How, rate: float) -> None:
        super().__init__()
        inside, width = channels
        self.conv1 = conv(how.dims, (inside, width), 1)
        self.bn1 = norm(how.dims, width)
        self.conv2 = conv(how.dims, (width, width), how.kernel, stride=how.stride, dilation=how.dilation)
        self.bn2 = norm(how.dims, width)
        self.conv3 = conv(how.dims, (width, 4 * width), 1)
        self.bn3 = norm(how.dims, 4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.drop_path = DropPath(rate)
        self.downsample = _shortcut((inside, 4 * width), how)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 x width, *S / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        added: Tensor = self.relu(self.drop_path(out) + self.downsample(x))
        return added


class ZeroFill(nn.Module):
    """Shortcut type A: every stride-th position, missing channels zero; gradients pass through it.

    Args:
        channels: in and out, out >= in.
        stride: step along every axis.
    """

    def __init__(self, channels: tuple[int, int], stride: Extent) -> None:
        super().__init__()
        self.missing = channels[1] - channels[0]
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, *S / stride)."""
        kept = subsample(x, self.stride)
        fill = kept.new_zeros(kept.shape[0], self.missing, *kept.shape[2:])
        return torch.cat([kept, fill], dim=1)


def _shortcut(channels: tuple[int, int], how: _How) -> nn.Module:
    if how.stride == 1 and channels[0] == channels[1]:
        return nn.Identity()
    if how.type_a:
        return ZeroFill(channels, how.stride)
    return nn.Sequential(conv(how.dims, channels, 1, stride=how.stride), norm(how.dims, channels[1]))


def _strides(form: _Form, dims: int) -> tuple[Extent, ...]:
    at, steps = form.stride * form.pool, [form.stride]
    for stride in form.strides:
        at *= stride
        steps.append(at)
    if form.stem_depth and dims == 3:
        return tuple((step // form.stride, step, step) for step in steps)
    return tuple(form.extent(dims, step) for step in steps)


def _check(depth: int, variant: str) -> None:
    if depth not in BLOCKS:
        msg = f"ResNet depth: expected one of {', '.join(map(str, BLOCKS))}, got {depth!r}."
        raise ConfigError(msg)
    if variant not in get_args(Variant):
        known: Sequence[str] = get_args(Variant)
        msg = f'ResNet variant: expected one of {", ".join(known)}, got "{variant}".'
        raise ConfigError(msg)
