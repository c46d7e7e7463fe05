"""U-Net decoder for the levels of any encoder, in 2 and 3 dimensions.

Ronneberger, Fischer, Brox. U-Net. MICCAI 2015. arXiv:1505.04597. Çiçek and others. 3D U-Net. MICCAI 2016.

From the deepest level to the image: a transposed convolution up to the next shallower level, that level
joined by its channels, two convolutions of kernel 3 with norm and ReLU. A step enlarges an axis by one
prime factor, so that stride 4 to 1 takes two steps; a level joins at the last step of its transition,
levels of equal stride join without enlargement, and where no level has stride 1 the last steps go
without a skip. Axes are independent: behind an encoder that keeps the depth, only the plane grows.

Width of a step: half of the width below it, at least `least`, at most `most`. Behind a ResNet (512 or 2048
channels) that is 256, 128, 64, 32, 16.

Differs: convolutions are padded, so the output has the image's size, and widths follow the rule above
instead of the encoder's (ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.layers import conv, init_kaiming, instance_norm, norm, up_conv
from allograft.nets.network import Encoder, axis_strides

__all__ = ["UNet"]

Norm = Literal["batch", "instance"]


class UNet(nn.Module):
    """A U-Net decoder.

    Args:
        encoder: gives the levels; those of one position (stride 0) are left out.
        most: largest width of a step, >= 1.
        least: smallest width of a step, >= 1.
        norm: "batch" or "instance" (statistics of the single image; steady with two patches in a batch).

    Raises:
        ConfigError: no level has a place, or the strides of two levels do not divide one another.
    """

    def __init__(self, encoder: Encoder, *, most: int = 256, least: int = 16, norm: Norm = "batch") -> None:
        super().__init__()
        self.kept = tuple(i for i, strides in enumerate(axis_strides(encoder)) if min(strides) > 0)
        if not self.kept:
            msg = 'decoder "unet": the encoder has no level with a place in the image. Take another encoder.'
            raise ConfigError(msg)
        width, widths = encoder.channels[self.kept[-1]], []
        self.steps = nn.ModuleList()
        for step in _steps(encoder, self.kept):
            inside, width = width, min(most, max(least, width // 2))
            self.steps.append(_Up(encoder.dims, (inside, step.skip, width), step.factor, norm))
            widths.append(width)
        self.joins = tuple(step.skip > 0 for step in _steps(encoder, self.kept))
        self.channels, self.widths = width, tuple(widths)
        init_kaiming(self)

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return (B, channels, *S) for levels (B, c_i, *S / s_i)."""
        return self.pyramid(levels)[-1]

    def pyramid(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the features of every step, (B, widths[k], *s_k), coarse to fine."""
        *places, x = (levels[i] for i in self.kept)
        out = []
        for step, joins in zip(self.steps, self.joins, strict=True):
            x = step(x, places.pop() if joins else None)
            out.append(x)
        return tuple(out)


class _Step(NamedTuple):
    """How much each axis grows, and the channels of the level that joins (0: none)."""

    factor: tuple[int, ...]
    skip: int


class _Up(nn.Module):
    """Enlarge, join, convolve twice.

    Args:
        dims: 2 or 3.
        channels: of the deeper features, of the skip (0: none), of the output.
        factor: growth of each axis.
        how: which norm.
    """

    def __init__(self, dims: int, channels: tuple[int, int, int], factor: tuple[int, ...], how: Norm) -> None:
        super().__init__()
        inside, skip, width = channels
        grows = max(factor) > 1
        self.up = up_conv(dims, (inside, width), factor) if grows else nn.Identity()
        joined = (width if grows else inside) + skip
        layers: list[nn.Module] = []
        for pair in ((joined, width), (width, width)):
            after = norm(dims, width) if how == "batch" else instance_norm(dims, width)
            layers += [conv(dims, pair, 3), after, nn.ReLU(inplace=True)]
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Return (B, width, *S * factor)."""
        x = self.up(x)
        return cast("Tensor", self.block(x if skip is None else torch.cat([x, skip], dim=1)))


def _steps(encoder: Encoder, kept: Sequence[int]) -> list[_Step]:
    """Return the steps from the deepest kept level to the image."""
    strides = axis_strides(encoder)
    at, out = strides[kept[-1]], []
    goals = [(strides[i], encoder.channels[i]) for i in reversed(kept[:-1])]
    if (goals[-1][0] if goals else at) != (1,) * encoder.dims or not goals:
        goals.append(((1,) * encoder.dims, 0))
    for goal, channels in goals:
        factors = _factors(at, goal)
        out += [_Step(factor, 0) for factor in factors[:-1]]
        out.append(_Step(factors[-1], channels))
        at = goal
    return out


def _factors(deep: tuple[int, ...], shallow: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the growth of each axis, step by step, from one stride to the other; one step at least."""
    if any(a % b for a, b in zip(deep, shallow, strict=True)):
        msg = f'decoder "unet": level stride {shallow} does not divide the next, {deep}. Take another encoder.'
        raise ConfigError(msg)
    primes = [_primes(a // b) for a, b in zip(deep, shallow, strict=True)]
    count = max(1, *map(len, primes))
    even = [[1] * (count - len(each)) + each for each in primes]
    return list(zip(*even, strict=True))


def _primes(number: int) -> list[int]:
    """Return the prime factors, largest first."""
    found, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found[::-1]
