"""Generators: networks that turn images of one domain into images of another, 2-D and 3-D alike.

Sources: Zhu, Park, Isola, Efros. ICCV 2017. arXiv:1703.10593 (residual blocks; after Johnson et al. 2016).
Isola, Zhu, Zhou, Efros. CVPR 2017. arXiv:1611.07004 (U-Net). Both begin with weights from N(0, 0.02).

Images here are standardised or in [0, 1] and not in [-1, 1], so the last layer is linear and no tanh.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allograft.nets.layers import conv4, dropout, instance_norm, reflect_conv, up_conv, up_conv4

__all__ = ["ResNetGenerator", "UNetGenerator", "init_normal"]

STD = 0.02
WIDEST = 8
"""Channels of the deepest layers, in widths."""


def init_normal(module: nn.Module) -> None:
    """Draw the weights of every convolution from N(0, 0.02); biases begin at 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(layer.weight, std=STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class ResNetGenerator(nn.Module):
    """Two halvings, residual blocks, two doublings; instance norm, borders reflected.

    Args:
        dims: 2 or 3.
        channels: of the images, in and out.
        width: channels of the first layer.
        blocks: residual blocks of 4 * width channels.
        residual: whether the result is what the image is changed by; the last layer then begins at 0, and the
            generator as the identity.
    """

    def __init__(self, dims: int, channels: int, *, width: int = 64, blocks: int = 9, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        widths = (width, 2 * width, 4 * width)
        layers: list[nn.Module] = [reflect_conv(dims, (channels, width), 7), *_normed(dims, width)]
        for narrow, wide in itertools.pairwise(widths):
            layers += [reflect_conv(dims, (narrow, wide), 3, stride=2), *_normed(dims, wide)]
        layers += [_Block(dims, widths[-1]) for _ in range(blocks)]
        for wide, narrow in itertools.pairwise(reversed(widths)):
            layers += [up_conv(dims, (wide, narrow), 2, kernel=3), *_normed(dims, narrow)]
        last = reflect_conv(dims, (width, channels), 7)
        self.layers = nn.Sequential(*layers, last)
        init_normal(self)
        if residual:
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, C, *S) for images (B, C, *S)."""
        found: Tensor = _cut(self.layers(_padded(image, 4)), image)
        return image + found if self.residual else found


class UNetGenerator(nn.Module):
    """Halvings down to the deepest map and doublings back, each joined with the map of its size.

    Args:
        dims: 2 or 3.
        channels: of the images, in and out.
        width: channels of the first layer; they double up to 8 widths.
        levels: halvings, >= 2; the image is repeated outwards to a multiple of 2 ** levels.
        rate: dropout of the up to three deepest doublings, the noise of the generator.
    """

    def __init__(self, dims: int, channels: int, *, width: int = 64, levels: int = 8, rate: float = 0.5) -> None:
        super().__init__()
        widths = [width * min(2**k, WIDEST) for k in range(levels)]
        self.levels = levels
        self.down = nn.ModuleList()
        for k, (inside, wide) in enumerate(itertools.pairwise([channels, *widths])):
            before = [] if k == 0 else [nn.LeakyReLU(0.2)]
            # The deepest map may be a single element, whose instance has no variance.
            after = [] if k in {0, levels - 1} else [instance_norm(dims, wide, affine=False)]
            self.down.append(nn.Sequential(*before, conv4(dims, (inside, wide), stride=2), *after))
        self.up = nn.ModuleList()
        for k in reversed(range(levels)):
            inside = widths[k] * (1 if k == levels - 1 else 2)
            outside = channels if k == 0 else widths[k - 1]
            after = [] if k == 0 else [instance_norm(dims, outside, affine=False)]
            noisy = [dropout(dims, rate)] if rate and levels - 1 > k >= max(1, levels - 4) else []
            self.up.append(nn.Sequential(nn.ReLU(), up_conv4(dims, (inside, outside)), *after, *noisy))
        init_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, C, *S) for images (B, C, *S)."""
        x, maps = _padded(image, 2**self.levels), []
        for step in self.down:
            x = step(x)
            maps.append(x)
        for k, step in enumerate(self.up):
            x = step(x if k == 0 else torch.cat([maps[-1 - k], x], 1))
        return _cut(x, image)


class _Block(nn.Module):
    """Two convolutions whose result is added to what came in."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        last = instance_norm(dims, width, affine=False)
        second = reflect_conv(dims, (width, width), 3)
        self.layers = nn.Sequential(reflect_conv(dims, (width, width), 3), *_normed(dims, width), second, last)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return x + found


def _normed(dims: int, width: int) -> tuple[nn.Module, nn.Module]:
    return instance_norm(dims, width, affine=False), nn.ReLU()


def _padded(image: Tensor, multiple: int) -> Tensor:
    """Return the image repeated outwards at its ends to a multiple along every axis."""
    more = [-n % multiple for n in image.shape[2:]]
    pad = [n for each in reversed(more) for n in (0, each)]
    return F.pad(image, pad, mode="replicate") if any(more) else image


def _cut(found: Tensor, like: Tensor) -> Tensor:
    return found[(slice(None), slice(None), *(slice(n) for n in like.shape[2:]))]
