"""Sliding windows: exact blended logits of a whole image, tile by tile, in little memory.

Where the head is linear (`VoxelHead`), the mean of the windows' logits is the head of the mean of
their features. So whichever is fewer is summed, features or logits; when no further window reaches
an element, its sums are divided by the weights, given to the head, handed out and forgotten. What
lies in memory is the overlap of two rows of windows and one strip, whatever the number of classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice
from typing import Literal, cast

import torch
from torch import Tensor

from allograft.core.errors import ConfigError, DataError, NumericsError, did_you_mean
from allograft.data.patches import Patches
from allograft.infer.coverage import Box, Coverage, Strip, cover, window_weights
from allograft.nets.modes import evaluating
from allograft.nets.network import Decoder, Network, VoxelHead

__all__ = ["Precision", "Reader", "blended", "tiles"]

Precision = Literal["32-true", "bf16-mixed"]


def tiles(
    net: Network,
    image: Tensor,
    *,
    head: str,
    patches: Patches,
    precision: Precision = "32-true",
) -> Iterator[tuple[Box, Tensor]]:
    """Yield the blended logits of an image in tiles that partition it.

    Where the tiles lie and their order depend on sizes alone: of image, windows and outputs, and of
    the features where these are so many that the image is predicted in bands.

    Args:
        net: the network; its modes and tensors stay as they are.
        image: (C, *S) float32, normalised.
        head: which head's logits.
        patches: size, overlap, weights and number of the windows, and axes to mirror.
        precision: of the network's arithmetic; sums and the linear head are float32 always.

    Yields:
        Where the tile lies, one slice for each axis; and its logits (O, *t) float32 on the image's device.

    Raises:
        ConfigError: no such head, a head that is not dense, or windows of another number of axes.
        DataError: the image has another number of axes or channels than the network takes.
        NumericsError: a logit is not finite.
    """
    reader = Reader(net, head, patches, precision)
    reader.check(image)
    return blended(reader, image, cover(tuple(image.shape[1:]), patches, channels=reader.channels + 1))


def blended(reader: Reader, image: Tensor, coverage: Coverage) -> Iterator[tuple[Box, Tensor]]:
    """Yield what `tiles` does; readers of as many outputs give the same tiles on the same coverage."""
    reader.check(image)
    padded, weights = coverage.pad(image), window_weights(reader.patches).to(image.device)
    for band in coverage.bands:
        strips = list(coverage.strips(band))
        predicted = reader.windows(padded, (corner for strip in strips for corner in strip.windows))
        sums = _Sums(coverage, band, weights, reader.channels)
        for strip in strips:
            sums.open(strip)
            for corner in strip.windows:
                sums.add(corner, next(predicted))
            for box in coverage.parts(strip, reader.outputs):
                logits = reader.finish(sums.mean(box))
                _require_finite(logits, box)
                yield box, logits
            sums.close(strip)


class Reader:
    """What is read from a network for each window: features where they are fewer, else logits.

    Args:
        net: the network.
        head: name of its head.
        patches: number of windows in a pass, and axes to mirror.
        precision: of the arithmetic.

    Attributes:
        outputs: logits O of an element.
        channels: numbers K that are read for an element: of features or of logits.

    Raises:
        ConfigError: no such head, no decoder, windows of another number of axes, or a head without a
            logit for every element.
    """

    def __init__(self, net: Network, head: str, patches: Patches, precision: Precision) -> None:
        if head not in net.heads:
            msg = f'the network has no head "{head}". {did_you_mean(head, net.heads)}'
            raise ConfigError(msg)
        if net.decoder is None:
            msg = f'head "{head}": the network has no decoder, so it cannot label every element of an image.'
            raise ConfigError(msg)
        if len(patches.size) != net.shape.dims:
            msg = f"patches.size {patches.size} has {len(patches.size)} axes, the network takes {net.shape.dims}."
            raise ConfigError(msg)
        self.net, self.head, self.patches, self.precision = net, head, patches, precision
        own = net.heads[head]
        self._voxel = own if isinstance(own, VoxelHead) else None
        self._device = next(net.parameters()).device
        features = cast("Decoder", net.decoder).channels
        self.outputs: int = self._count(features)
        self._blends_features = self._voxel is not None and features <= self.outputs
        self.channels: int = features if self._blends_features else self.outputs

    def check(self, image: Tensor) -> None:
        """Refuse an image that the network does not take.

        Raises:
            DataError: see there.
        """
        dims, channels = self.net.shape.dims, self.net.shape.in_channels
        if image.ndim != dims + 1 or len(image) != channels or not image.numel():
            msg = (
                f"an image of shape {tuple(image.shape)} (channels, *size) cannot be segmented: the network takes "
                f"{channels} channels and {dims} axes."
            )
            raise DataError(msg)

    def windows(self, image: Tensor, corners: Iterator[tuple[int, ...]]) -> Iterator[Tensor]:
        """Yield (K, *p) for each window of the padded image (C, *S), in the order of their corners."""
        while batch := list(islice(corners, self.patches.batch)):
            boxes = [tuple(slice(a, a + p) for a, p in zip(at, self.patches.size, strict=True)) for at in batch]
            yield from self._read(torch.stack([image[(slice(None), *box)] for box in boxes])).to(image.device)

    def finish(self, mean: Tensor) -> Tensor:
        """Return logits (O, *t) for blended features or logits (K, *t)."""
        if not self._blends_features:
            return mean
        assert self._voxel is not None, "features are blended only for a linear head"
        with evaluating(self._voxel):
            return self._voxel.project(mean[None].to(self._device))[0].to(mean.device)

    def _read(self, x: Tensor) -> Tensor:
        """Return (B, K, *p) float32 of windows (B, C, *p), averaged over mirrored ones."""
        axes = [axis + 2 for axis in self.patches.mirror]
        subsets = [list(chosen) for n in range(len(axes) + 1) for chosen in combinations(axes, n)]
        x, total = x.to(self._device), None
        low = torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16-mixed")
        for flipped in subsets:
            with evaluating(self.net), low:
                out = self._one(x.flip(flipped) if flipped else x).float()
            _require_dense(out, self.patches.size)
            out = out.flip(flipped) if flipped else out
            total = out if total is None else total.add_(out)
        assert total is not None, "the subset of no axis is always there"
        return total if len(subsets) == 1 else total.div_(len(subsets))

    def _one(self, x: Tensor) -> Tensor:
        if self._voxel is None:
            return cast("Tensor", self.net(x).logits[self.head])
        decoded = self.net.dense(x)
        return decoded if self._blends_features else self._voxel.project(decoded)

    def _count(self, features: int) -> int:
        """Return the number of logits, by asking the head; a head that is not linear is asked for a window."""
        dims, channels = self.net.shape.dims, self.net.shape.in_channels
        if self._voxel is not None:
            with evaluating(self._voxel):
                return self._voxel.project(torch.zeros(1, features, *[1] * dims, device=self._device)).shape[1]
        found = self._read(torch.zeros(1, channels, *self.patches.size))
        return found.shape[1]


class _Sums:
    """Weighted sums of windows that are not final yet: a strip, and what each group leaves to the next.

    The last channel holds the sums of the weights.

    Args:
        coverage: of the image.
        band: of the coverage.
        weights: (*p).
        channels: K.
    """

    def __init__(self, coverage: Coverage, band: tuple[int, int], weights: Tensor, channels: int) -> None:
        self.coverage, self.band, self.weights = coverage, band, weights
        roll, second = coverage.axes[coverage.roll], coverage.axes[coverage.second]
        shape = [axis.padded for axis in coverage.axes]
        shape[coverage.roll], shape[coverage.second] = roll.height, second.window
        self.strip = torch.zeros(channels + 1, *shape, device=weights.device)
        shape[coverage.roll], shape[coverage.second] = roll.carried, band[1] - band[0]
        self.carry = torch.empty(channels + 1, *shape, device=weights.device)
        self.corner = (0, 0)

    def open(self, strip: Strip) -> None:
        """Begin a strip with what windows before it have given to it."""
        width, shared = self.coverage.axes[self.coverage.second].window, strip.shared
        everywhere = (0, self.strip.shape[self.coverage.roll + 1])
        old = self.strip[self._at(everywhere, (width - shared, width))]
        new = self.strip[self._at(everywhere, (0, shared))]
        if shared:
            for target, source in zip(new, old, strict=True):  # by channel: the two may overlap
                target.copy_(source.clone())
        self.strip[self._at(everywhere, (shared, width))] = 0
        self.corner = strip.corner
        y = strip.corner[1]
        low, high = max(y + shared, self.band[0]), min(y + width, self.band[1])
        if strip.taken and low < high:
            carried = self.carry[self._at((0, strip.taken), (low - self.band[0], high - self.band[0]))]
            self.strip[self._at((0, strip.taken), (low - y, high - y))] = carried

    def add(self, corner: tuple[int, ...], values: Tensor) -> None:
        """Add a window's values (K, *p), weighted."""
        box = self._own([slice(a, a + p) for a, p in zip(corner, self.coverage.window, strict=True)])
        self.strip[:-1][(slice(None), *box)].addcmul_(values, self.weights)
        self.strip[-1][box] += self.weights

    def mean(self, box: Box) -> Tensor:
        """Return the weighted mean (K, *t) in a final box of the image."""
        padded = [slice(s.start + a.before, s.stop + a.before) for s, a in zip(box, self.coverage.axes, strict=True)]
        inside = self._own(padded)
        return self.strip[:-1][(slice(None), *inside)] / self.strip[-1][inside]

    def close(self, strip: Strip) -> None:
        """Keep the rows that the next group adds to."""
        (z, y), (top, end), (low, high) = strip.corner, strip.kept, strip.columns
        if top < end and low < high:
            rest = self.strip[self._at((top - z, end - z), (low - y, high - y))]
            self.carry[self._at((0, end - top), (low - self.band[0], high - self.band[0]))] = rest

    def _own(self, box: list[slice]) -> tuple[slice, ...]:
        """Return a box of the padded image in the coordinates of the strip."""
        for axis, corner in zip((self.coverage.roll, self.coverage.second), self.corner, strict=True):
            box[axis] = slice(box[axis].start - corner, box[axis].stop - corner)
        return tuple(box)

    def _at(self, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[slice, ...]:
        """Return the index of rows along roll and columns along second, all of the rest."""
        index = [slice(None)] * (len(self.coverage.axes) + 1)
        index[self.coverage.roll + 1], index[self.coverage.second + 1] = slice(*rows), slice(*columns)
        return tuple(index)


def _require_dense(out: Tensor, size: tuple[int, ...]) -> None:
    """Refuse a network whose output does not lie on the window's own grid."""
    if tuple(out.shape[2:]) != size:
        msg = (
            f"the network gives an output of shape {tuple(out.shape)} for windows of size {size}: not one for every "
            "element. Take a patches.size that its strides divide, and a head for segmentation."
        )
        raise ConfigError(msg)


def _require_finite(logits: Tensor, box: Box) -> None:
    """Refuse logits that are not numbers; the sum is looked at first, it costs least."""
    if not bool(logits.sum().isfinite()) and not bool(logits.isfinite().all()):
        where = ", ".join(f"{s.start}:{s.stop}" for s in box)
        msg = (
            f"the network's outputs are not finite at [{where}] of the image. Look at the image; if it is sound, the "
            "weights have diverged."
        )
        raise NumericsError(msg)
