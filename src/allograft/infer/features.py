"""Features: what a level of an encoder says of a whole image, as one vector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.data.patches import Patches
from allograft.infer.coverage import cover
from allograft.nets.modes import evaluating
from allograft.nets.network import Network

__all__ = ["image_features", "windows_of"]


def image_features(net: Network, images: Iterable[Tensor], level: int) -> npt.NDArray[np.float32]:
    """Return the mean over positions of one level, in evaluation mode.

    Args:
        net: the network; its modes and tensors stay as they are.
        images: batches (B, C, *S), normalised; each batch's elements are cases.
        level: of the encoder's levels, from 0 (shallow); negative counts from the deepest, -1.

    Returns:
        (N, F), F the level's channels.

    Raises:
        ConfigError: the encoder has no such level.
    """
    known = len(net.shape.channels)
    if not -known <= level < known:
        msg = f"the encoder has {known} levels, 0 to {known - 1}; got {level}."
        raise ConfigError(msg)
    device, found = next(net.parameters()).device, []
    with evaluating(net):
        for x in images:
            features: Tensor = net.encode(x.to(device))[level]
            found.append(features.float().flatten(2).mean(2).cpu().numpy())
    return np.concatenate(found)


def windows_of(image: Tensor, patches: Patches) -> Iterator[Tensor]:
    """Yield batches (B, C, *p) of the windows that cover an image (C, *S) when it is segmented."""
    coverage = cover(tuple(image.shape[1:]), patches, channels=1)
    padded = coverage.pad(image)
    corners = [corner for band in coverage.bands for strip in coverage.strips(band) for corner in strip.windows]
    for begin in range(0, len(corners), patches.batch):
        boxes = [
            (slice(None), *(slice(a, a + p) for a, p in zip(corner, patches.size, strict=True)))
            for corner in corners[begin : begin + patches.batch]
        ]
        yield torch.stack([padded[box] for box in boxes])
