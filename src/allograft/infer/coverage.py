"""Coverage: how windows cover an image, and in which order sums over them become final.

Windows lie as in MONAI's SlidingWindowInferer: a regular step, the last one flush with the border,
images smaller than a window padded. They are walked so that little of the image is unfinished at a
time: along the axis *roll* in groups of rows, within a group along the axis *second* in strips.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor
from torch.nn import functional as F

from allograft.core.errors import ConfigError
from allograft.data.patches import Patches

__all__ = ["Axis", "Box", "Coverage", "Strip", "cover", "window_weights"]

Box = tuple[slice, ...]
BUDGET = 2 * 2**30
"""Bytes of unfinished sums above which an image is predicted in bands."""
TILE = 2**22
"""Logits in one finalised tile: 16 MiB, of the order of a processor's cache."""


@dataclass(frozen=True)
class Axis:
    """The windows along one axis.

    Args:
        image: elements of the image.
        window: elements of a window.
        starts: first elements of the windows in the padded image, ascending.
        step: between regular windows; the last two may be closer.
    """

    image: int
    window: int
    starts: tuple[int, ...]
    step: int

    @property
    def padded(self) -> int:
        """Elements of the padded image."""
        return max(self.image, self.window)

    @property
    def before(self) -> int:
        """Elements added before the image; as many or one more are added behind it."""
        return (self.padded - self.image) // 2

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Starts that are walked together: single ones, but a last one that came closer joins the one before."""
        if len(self.starts) > 1 and self.starts[-1] - self.starts[-2] < self.step:
            return (*((start,) for start in self.starts[:-2]), self.starts[-2:])
        return tuple((start,) for start in self.starts)

    @property
    def height(self) -> int:
        """Elements that the widest group covers."""
        return max(group[-1] - group[0] for group in self.groups) + self.window

    @property
    def carried(self) -> int:
        """Elements that a group leaves unfinished to the next, at most."""
        return max((one[-1] + self.window - other[0] for one, other in pairwise(self.groups)), default=0)


@dataclass(frozen=True)
class Strip:
    """Windows that are walked together, and what is final after them (padded coordinates).

    Args:
        corner: first element along roll and second.
        windows: corners of the windows, one number for each axis.
        taken: rows along roll, from the corner on, that hold sums of the group before.
        rows: along roll, final after this strip.
        kept: along roll, handed to the next group.
        columns: along second, final after this strip.
        shared: columns, from the corner on, that the strip before has summed into.
    """

    corner: tuple[int, int]
    windows: tuple[tuple[int, ...], ...]
    taken: int
    rows: tuple[int, int]
    kept: tuple[int, int]
    columns: tuple[int, int]
    shared: int


@dataclass(frozen=True)
class Coverage:
    """All windows of an image.

    Args:
        axes: by axis of the image.
        roll: the axis along which sums become final.
        second: the axis along which a group's windows are walked.
        bands: (begin, end) along `second`, predicted one after the other; they cover the padded image.
            Windows on a border between bands are predicted for both.
    """

    axes: tuple[Axis, ...]
    roll: int
    second: int
    bands: tuple[tuple[int, int], ...]

    @property
    def window(self) -> tuple[int, ...]:
        """Size of a window."""
        return tuple(axis.window for axis in self.axes)

    def pad(self, image: Tensor) -> Tensor:
        """Return the image (C, *S), padded with its minimum where it is smaller than a window."""
        ends = [(axis.before, axis.padded - axis.image - axis.before) for axis in self.axes]
        if not any(map(any, ends)):
            return image
        return F.pad(image, [n for pair in reversed(ends) for n in pair], value=float(image.min()))

    def strips(self, band: tuple[int, int]) -> Iterator[Strip]:
        """Yield the strips of a band, in the order in which they are to be walked."""
        roll, second = self.axes[self.roll], self.axes[self.second]
        touching = [y for y in second.starts if y < band[1] and y + second.window > band[0]]
        edges = [band[0], *(max(y, band[0]) for y in touching[1:]), band[1]]
        ends = [group[-1] + roll.window for group in roll.groups]
        begins = [group[0] for group in roll.groups]
        for k, group in enumerate(roll.groups):
            final = begins[k + 1] if k + 1 < len(begins) else ends[k]
            for j, y in enumerate(touching):
                chosen = [axis.starts for axis in self.axes]
                chosen[self.roll], chosen[self.second] = group, (y,)
                yield Strip(
                    corner=(group[0], y),
                    windows=tuple(product(*chosen)),
                    taken=ends[k - 1] - group[0] if k else 0,
                    rows=(group[0], final),
                    kept=(final, ends[k]),
                    columns=(edges[j], edges[j + 1]),
                    shared=touching[j - 1] + second.window - y if j else 0,
                )

    def parts(self, strip: Strip, outputs: int) -> Iterator[Box]:
        """Yield boxes, in the coordinates of the image, that together are what a strip makes final.

        Args:
            strip: of `strips`.
            outputs: logits of an element; the boxes are the smaller, the more there are.
        """
        ranges = [(0, axis.padded) for axis in self.axes]
        ranges[self.roll], ranges[self.second] = strip.rows, strip.columns
        inside = [
            (max(low - axis.before, 0), min(high - axis.before, axis.image))
            for (low, high), axis in zip(ranges, self.axes, strict=True)
        ]
        if any(low >= high for low, high in inside):
            return
        box = [slice(*each) for each in inside]
        plane = math.prod(high - low for k, (low, high) in enumerate(inside) if k != self.roll)
        low, high = inside[self.roll]
        step = max(1, TILE // (plane * outputs))
        for begin in range(low, high, step):
            box[self.roll] = slice(begin, min(begin + step, high))
            yield tuple(box)


def cover(shape: tuple[int, ...], patches: Patches, *, channels: int) -> Coverage:
    """Return how windows of `patches` cover an image.

    Args:
        shape: *S of the image.
        patches: size and overlap of the windows.
        channels: sums that are kept for each element, of all networks that predict the image side by
            side; above `BUDGET` bytes the image is predicted in bands, which costs windows twice.

    Raises:
        ConfigError: the windows have another number of axes than the image.
    """
    if len(shape) != len(patches.size):
        msg = f"patches.size {patches.size} has {len(patches.size)} axes, the image {shape} has {len(shape)}."
        raise ConfigError(msg)
    axes = tuple(_axis(image, window, patches.overlap) for image, window in zip(shape, patches.size, strict=True))
    planes = [math.prod(axis.padded for axis in axes[:k] + axes[k + 1 :]) for k in range(len(axes))]
    roll = min(range(len(axes)), key=lambda k: axes[k].carried * planes[k])
    second = next(k for k in range(len(axes)) if k != roll)
    rest = math.prod(axis.padded for k, axis in enumerate(axes) if k not in {roll, second})
    strip, carried = axes[roll].height * axes[second].window * rest, axes[roll].carried * rest
    long = axes[second].padded
    most = max(1, long // axes[second].window)
    fits = (n for n in range(1, most) if 4 * channels * (strip + carried * math.ceil(long / n)) <= BUDGET)
    count = next(fits, most)
    edges = [round(n * long / count) for n in range(count + 1)]
    return Coverage(axes, roll, second, tuple(pairwise(edges)))


def window_weights(patches: Patches) -> Tensor:
    """Return the weight of each element of a window, (*p) in (0, 1].

    The Gaussian is MONAI's: a deviation of an eighth of the size, and nothing below a thousandth (so
    that it is no product of one weight for each axis, and sums of weights are kept like other sums).
    """
    if patches.blend == "constant":
        return torch.ones(patches.size)
    weights = torch.ones(())
    for size in patches.size:
        place = torch.arange(size) - (size - 1) / 2
        weights = weights[..., None] * torch.exp(-(place**2) / (2 * (size / 8) ** 2))
    return weights.clamp(min=max(float(weights.min()), 1e-3))


def _axis(image: int, window: int, overlap: float) -> Axis:
    """Place windows along an axis: a window's share apart, the last one flush with the border."""
    last = max(image, window) - window
    step = max(1, int(window * (1 - overlap)))
    starts = (*range(0, last, step), last)
    return Axis(image, window, starts, step)
