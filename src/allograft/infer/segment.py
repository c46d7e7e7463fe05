"""Segment: a label for every element of an image, by one network or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.core.errors import ConfigError, DataError
from allograft.data.patches import Patches
from allograft.functional.probabilities import most_probable
from allograft.infer.coverage import cover
from allograft.infer.windows import Precision, Reader, blended
from allograft.nets.network import Network

__all__ = ["segment", "segment_surely"]


def segment(
    nets: Sequence[Network],
    image: Tensor | Sequence[Tensor],
    *,
    head: str,
    patches: Patches,
    precision: Precision = "32-true",
) -> npt.NDArray[np.uint8] | npt.NDArray[np.int16]:
    """Return the class of the largest mean probability for every element.

    Logits and probabilities live for one tile at a time, so memory does not grow with the number of
    classes.

    Args:
        nets: at least one; with the same classes.
        image: (C, *S) float32, normalised; or one for each network, where their normalisation differs.
        head: which head's classes.
        patches: how windows cover the image.
        precision: of the networks' arithmetic.

    Returns:
        (*S) class indices, uint8 for up to 256 classes and int16 above.

    Raises:
        ConfigError: no networks, no such head, or networks of different numbers of classes.
        DataError: the image does not suit the networks, or there are not as many images as networks.
        NumericsError: an output is not finite.
    """
    found, _ = _fused(nets, image, head=head, patches=patches, precision=precision, sure=False)
    return found


def segment_surely(
    nets: Sequence[Network],
    image: Tensor | Sequence[Tensor],
    *,
    head: str,
    patches: Patches,
    precision: Precision = "32-true",
) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.int16], npt.NDArray[np.float16]]:
    """Return what `segment` does, and the mean probability of the chosen class, (*S) in [0, 1]."""
    found, sure = _fused(nets, image, head=head, patches=patches, precision=precision, sure=True)
    assert sure is not None
    return found, sure


def _fused(
    nets: Sequence[Network],
    image: Tensor | Sequence[Tensor],
    *,
    head: str,
    patches: Patches,
    precision: Precision,
    sure: bool,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float16] | None]:
    if not nets:
        msg = "segment() needs at least one network."
        raise ConfigError(msg)
    readers = [Reader(net, head, patches, precision) for net in nets]
    outputs = {reader.outputs for reader in readers}
    if len(outputs) > 1 or min(outputs) < 2:
        msg = f'head "{head}": expected the same number of classes, 2 or more, in all networks, got {sorted(outputs)}.'
        raise ConfigError(msg)
    images = _one_each(image, len(readers))
    size = tuple(images[0].shape[1:])
    together = cover(size, patches, channels=sum(reader.channels + 1 for reader in readers))
    found = [blended(reader, own, together) for reader, own in zip(readers, images, strict=True)]
    labels: npt.NDArray[Any] = np.empty(size, np.uint8 if max(outputs) <= 256 else np.int16)
    chances = np.empty(size, np.float16) if sure else None
    for members in zip(*found, strict=True):
        box = members[0][0]
        assert all(other == box for other, _ in members), "one coverage gives one order of tiles"
        if chances is not None:
            mean = torch.stack([logits.softmax(0) for _, logits in members]).mean(0)
            chances[box] = mean.amax(0).to("cpu").numpy()
        labels[box] = most_probable([logits for _, logits in members]).to("cpu").numpy().astype(labels.dtype)
    return labels, chances


def _one_each(image: Tensor | Sequence[Tensor], networks: int) -> list[Tensor]:
    """Return the image of each network."""
    if isinstance(image, Tensor):
        return [image] * networks
    if len(image) != networks or len({tuple(each.shape[1:]) for each in image}) != 1:
        shapes = ", ".join(str(tuple(each.shape)) for each in image)
        msg = f"{networks} networks: expected one image, or {networks} of one size, got {len(image)} ({shapes})."
        raise DataError(msg)
    return list(image)
