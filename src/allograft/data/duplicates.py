"""Duplicates: the same picture twice, byte for byte or nearly; a leak where groups differ.

A fingerprint is made of each image while it is decoded; pairs are found afterwards from
fingerprints alone. Candidates share one of 8 bands of a 64-bit hash (the signs of the lowest
frequencies), which finds every pair at a Hamming distance below 8 without comparing all; a
candidate counts only when the small pictures also correlate after the cohort's mean picture is
taken off, since images of one body part look alike to any hash.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn

__all__ = ["Duplicate", "Fingerprint", "find_duplicates", "fingerprint"]

DISTANCE = 7
"""Most differing bits of 64 of a candidate (ours); a band of 8 bits is then equal."""

CORRELATION = 0.95
"""Least correlation of two near-duplicates' small pictures without the cohort's mean (ours)."""

SIZE = {2: 32, 3: 16}
"""Edge of the small picture by dims."""

ENOUGH = 8
"""Images of one shape of small picture from which a mean picture is taken off."""


class Fingerprint(NamedTuple):
    """What is kept of an image to find its duplicates.

    Args:
        id: the case.
        group: its independent unit.
        content: hash of the decoded values; equal for the same values in another number type, and
            for grey stored as colour.
        bits: 64-bit perceptual hash.
        small: the small picture, flat, zero mean, unit norm; all zero for a constant image.
    """

    id: str
    group: str
    content: str
    bits: int
    small: npt.NDArray[np.float32]


class Duplicate(NamedTuple):
    """Two cases with the same or nearly the same picture.

    Args:
        first: a case.
        second: another case, later in the cohort.
        exact: equal values; else nearly.
        distance: Hamming distance of the perceptual hashes, 0 to 64.
        across_groups: the groups differ, so a split may put them on both sides: a leak.
    """

    first: str
    second: str
    exact: bool
    distance: int
    across_groups: bool


def fingerprint(array: npt.NDArray[Any], *, name: str, group: str) -> Fingerprint:
    """Return the fingerprint of a decoded image.

    Args:
        array: (C, *S), 2-D or 3-D.
        name: the case's id.
        group: the case's group.
    """
    values = np.ascontiguousarray(array, dtype="<f4")
    if len(values) > 1 and all(np.array_equal(values[0], other) for other in values[1:]):
        values = values[:1]
    digest = hashlib.sha256(repr(values.shape).encode())
    digest.update(values.tobytes())
    grey = values[0] if len(values) == 1 else values.mean(axis=0)
    small = _small(grey if np.isfinite(grey).all() else np.nan_to_num(grey, nan=0.0, posinf=0.0, neginf=0.0))
    return Fingerprint(name, group, digest.hexdigest(), _hash(small), _unit(small.ravel()))


def _small(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (*S) averaged over areas down to the small picture's size."""
    size = SIZE[grey.ndim]
    for _ in range(grey.ndim):  # each turn reduces the first axis and moves it to the end
        grey = np.moveaxis(np.tensordot(_areas(grey.shape[0], size), grey, axes=1), 0, -1)
    return grey.astype(np.float32)


@lru_cache(maxsize=64)
def _areas(length: int, size: int) -> npt.NDArray[np.float32]:
    """Return (size, length) weights: the share of each old cell in each new one; rows sum to 1."""
    edges = np.linspace(0, length, size + 1)
    cells = np.arange(length)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights = np.clip(overlap, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _hash(small: npt.NDArray[np.float32]) -> int:
    """Return the signs of the 64 lowest frequencies but the mean; free of brightness and contrast."""
    spectrum = dctn(small.astype(np.float64), norm="ortho")
    low = np.array([spectrum[index] for index in _lowest(small.ndim)])
    return int.from_bytes(np.packbits(low > 0).tobytes(), "big")


@lru_cache(maxsize=2)
def _lowest(dims: int) -> tuple[tuple[int, ...], ...]:
    """Return the indices of the 64 lowest frequencies, nearest to the mean first."""
    every = sorted(product(range(12), repeat=dims), key=lambda index: (sum(i * i for i in index), index))
    return tuple(every[1:65])


def _unit(flat: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return zero mean and unit norm, or zeros where nothing varies."""
    centred = flat - flat.mean()
    norm = float(np.linalg.norm(centred))
    scale = float(np.abs(flat).max()) * np.sqrt(len(flat))
    return centred / norm if norm > 1e-5 * scale else np.zeros_like(flat)


def find_duplicates(prints: Sequence[Fingerprint]) -> tuple[Duplicate, ...]:
    """Return all pairs of duplicates, exact ones first.

    Each further copy of a picture is paired with its first appearance only, exact or near.

    Args:
        prints: fingerprints in the cohort's order.
    """
    first: dict[str, Fingerprint] = {}
    exact = []
    for item in prints:
        other = first.setdefault(item.content, item)
        if other is not item:
            exact.append(Duplicate(other.id, item.id, True, 0, other.group != item.group))
    near = [pair for shape in _by_size(list(first.values())) for pair in _near(shape)]
    return (*exact, *near)


def _by_size(prints: list[Fingerprint]) -> list[list[Fingerprint]]:
    """Separate 2-D from 3-D, and leave out constant images, which all look alike."""
    sizes: dict[int, list[Fingerprint]] = defaultdict(list)
    for item in prints:
        if item.small.any():
            sizes[len(item.small)].append(item)
    return list(sizes.values())


def _near(prints: list[Fingerprint]) -> Iterator[Duplicate]:
    """Yield near-duplicates among images with small pictures of one size."""
    bits = np.array([item.bits for item in prints], dtype=np.uint64)
    small = np.stack([item.small for item in prints])
    if len(prints) >= ENOUGH:
        small = small - small.mean(axis=0)
        small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
    for a, b in sorted(_candidates(bits)):
        if float(small[a] @ small[b]) >= CORRELATION:
            one, two = prints[a], prints[b]
            yield Duplicate(one.id, two.id, False, int(one.bits ^ two.bits).bit_count(), one.group != two.group)


def _candidates(bits: npt.NDArray[np.uint64]) -> set[tuple[int, int]]:
    """Return all pairs (a < b) at a Hamming distance of at most `DISTANCE`."""
    pairs: set[tuple[int, int]] = set()
    bands = bits.view(np.uint8).reshape(len(bits), 8)
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=-1))
        for rows in np.split(order, starts[1:]):
            for k, a in enumerate(rows[:-1]):
                others = rows[k + 1 :]
                close = others[_popcount(bits[others] ^ bits[a]) <= DISTANCE]
                pairs.update((int(a), int(b)) for b in close)
    return pairs


_ONES = np.array([bin(i).count("1") for i in range(2**16)], dtype=np.uint8)


def _popcount(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    halves = np.ascontiguousarray(values).view(np.uint16).reshape(-1, 4)
    return np.asarray(_ONES[halves].sum(axis=1, dtype=np.int64))
