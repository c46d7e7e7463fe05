"""PatchGAN: a discriminator that judges overlapping patches of an image, each by itself.

Source: Isola, Zhu, Zhou, Efros. CVPR 2017. arXiv:1611.07004. Kernels of 4, leaky ReLU 0.2, weights from N(0, 0.02).
"""

from __future__ import annotations

from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.generator import init_normal
from allograft.nets.layers import conv4, instance_norm

__all__ = ["PatchGAN", "receptive_field"]

WIDEST = 8
SMALLEST = 3
"""Elements along each axis that must be left after the halvings, for two more kernels of 4."""


def receptive_field(depth: int) -> int:
    """Return how many elements along an axis one judgement of a PatchGAN sees.

    >>> [receptive_field(depth) for depth in (1, 2, 3)]
    [16, 34, 70]
    """
    field = 7
    for _ in range(depth):
        field = 2 * field + 2
    return field


class PatchGAN(nn.Module):
    """Images to a map of judgements without activation.

    Args:
        dims: 2 or 3.
        channels: of the images, those of a condition included.
        width: channels of the first layer; they double up to 8 widths.
        depth: halvings, >= 1; 3 sees 70 elements along each axis, 2 sees 34, 1 sees 16.
    """

    def __init__(self, dims: int, channels: int, *, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.depth = depth
        layers: list[nn.Module] = [conv4(dims, (channels, width), stride=2), nn.LeakyReLU(0.2)]
        inside = width
        for k in range(1, depth + 1):
            wide = width * min(2**k, WIDEST)
            step = conv4(dims, (inside, wide), stride=2 if k < depth else 1)
            layers += [step, instance_norm(dims, wide, affine=False), nn.LeakyReLU(0.2)]
            inside = wide
        self.layers = nn.Sequential(*layers, conv4(dims, (inside, 1), stride=1))
        init_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 1, *s) judgements of images (B, C, *S).

        Raises:
            ConfigError: the image is too small for the depth.
        """
        least = SMALLEST * 2**self.depth
        if min(image.shape[2:]) < least:
            fits = max((k for k in range(1, self.depth) if SMALLEST * 2**k <= min(image.shape[2:])), default=0)
            msg = (
                f"a PatchGAN of depth {self.depth} needs at least {least} elements along each axis, images here have "
                f"{tuple(image.shape[2:])}. {f'Set depth: {fits}, or train' if fits else 'Train'} on larger images."
            )
            raise ConfigError(msg)
        found: Tensor = self.layers(image)
        return found
