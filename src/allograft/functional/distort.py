"""Distortions of images (C, *S) in [0, 1] that a network is to undo (Zhou et al., Models Genesis).

All channels of an image are distorted alike. Draws come from torch's random state.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bezier", "bezier_map", "in_paint", "local_shuffle", "out_paint"]

POINTS = 1000
"""Points of a sampled curve (ours)."""
BLOCKS = 5
AGAIN = 0.95
"""Of painting: most blocks, and the probability of each."""


def _between(low: int, high: int) -> int:
    """Return a whole number in [low, high]."""
    return int(torch.randint(low, max(low, high) + 1, ()))


def _block(size: tuple[int, ...], sides: tuple[int, ...], border: int) -> tuple[slice, ...]:
    """Return a place of a block of these sides, `border` away from the edges where there is room."""
    begins = [
        _between(min(border, n - s), max(min(border, n - s), n - s - border)) for n, s in zip(size, sides, strict=True)
    ]
    return tuple(slice(b, b + s) for b, s in zip(begins, sides, strict=True))


def local_shuffle(image: Tensor, windows: int, *, running: bool = False) -> Tensor:
    """Return the image with the elements inside small windows permuted; where windows overlap, the later one counts.

    Args:
        image: (C, *S).
        windows: how many; each side is drawn from 1 to a tenth of the axis, at least to 2.
        running: read windows from the output as it stands, so that the values of the image are kept exactly, one
            window after the other; otherwise from the image itself, all at once.
    """
    size = torch.tensor(image.shape[1:])
    inside, shuffled = _windows(size, windows)
    out = image.flatten(1)
    if running:
        out = out.clone()
        for here, there in zip(inside, shuffled, strict=True):
            kept = here >= 0
            out[:, here[kept]] = out[:, there[kept]]
        return out.reshape(image.shape)
    kept = inside >= 0
    number = torch.arange(windows)[:, None].expand_as(inside)[kept]
    here, there = inside[kept], shuffled[kept]
    last = torch.full((out.shape[1],), -1).scatter_reduce(0, here, number, "amax")
    counts = number == last[here]  # of each element only what its last window makes of it
    source = torch.arange(out.shape[1])
    source[here[counts]] = there[counts]
    return out[:, source].reshape(image.shape)


def _windows(size: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return for random windows the flat positions of their elements, and the same permuted; -1 fills both up.

    Each is (count, V), V the elements of the largest window.
    """
    most = torch.minimum(size, (size // 10).clamp_min(2))
    sides = 1 + (torch.rand(count, len(size)) * most).long()
    corners = (torch.rand(count, len(size)) * (size - sides + 1)).long()
    steps = torch.cartesian_prod(*(torch.arange(int(n)) for n in most)).reshape(-1, len(size))
    fits = (steps[None] < sides[:, None]).all(2)
    strides = torch.tensor([int(size[axis + 1 :].prod()) for axis in range(len(size))])
    flat = ((corners[:, None] + steps[None]) * strides).sum(2)
    keys = torch.rand(flat.shape)
    # Two sorts bring the positions that fit to the front, once in their own order and once in a random one.
    plain = (~fits).to(torch.uint8).argsort(dim=1, stable=True)
    mixed = keys.masked_fill(~fits, 2.0).argsort(dim=1)
    front = torch.arange(flat.shape[1]) < fits.sum(1, keepdim=True)
    return flat.gather(1, plain).where(front, -1), flat.gather(1, mixed).where(front, -1)


def bezier(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and y, each (POINTS,), of the cubic Bezier curve with control points (4, 2)."""
    t = torch.linspace(0, 1, POINTS, dtype=points.dtype)[:, None]
    weights = torch.cat([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], dim=1)
    x, y = (weights @ points).T
    return x, y


def bezier_map(image: Tensor, *, inverting: bool | None = None) -> Tensor:
    """Return the image with values passed through a random curve from (0, 0) to (1, 1), or from (0, 1) to (1, 0).

    Args:
        image: values in [0, 1].
        inverting: which of the two; None draws. The first is increasing, the second need not be monotone.
    """
    ends = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    x, y = bezier(torch.cat([ends[:1], torch.rand(2, 2), ends[1:]]))
    if inverting is None:
        inverting = bool(torch.rand(()) < 0.5)
    x = x.sort().values
    y = y.flip(0) if inverting else y.sort().values
    place = torch.searchsorted(x, image.contiguous()).clamp(1, POINTS - 1)
    left, right = x[place - 1], x[place]
    share = ((image - left) / (right - left).clamp_min(1e-12)).clamp(0, 1)
    return y[place - 1] + share * (y[place] - y[place - 1])


def in_paint(image: Tensor) -> Tensor:
    """Return the image with up to five blocks, sides of a sixth to a third of the axes, filled with uniform noise."""
    out, size = image.clone(), tuple(image.shape[1:])
    for _ in range(BLOCKS):
        if torch.rand(()) >= AGAIN:
            break
        sides = tuple(_between(max(1, n // 6), max(1, n // 3)) for n in size)
        place = (slice(None), *_block(size, sides, 3))
        out[place] = torch.rand(out[place].shape[1:]).expand(out[place].shape)
    return out


def out_paint(image: Tensor) -> Tensor:
    """Return uniform noise with one to five blocks, sides of three to four sevenths of the axes, of the image."""
    size = tuple(image.shape[1:])
    out = torch.rand(size).expand(image.shape).clone()
    for number in range(BLOCKS):
        if number and torch.rand(()) >= AGAIN:
            break
        sides = tuple(n - _between(3 * n // 7, 4 * n // 7) for n in size)
        place = (slice(None), *_block(size, sides, 3))
        out[place] = image[place]
    return out
