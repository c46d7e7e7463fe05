"""The index of a store: which arrays it holds, in which layout, and what is known of each case."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.config import Config
from allograft.data.placement import Placement
from allograft.data.preprocess import Preprocess, Space

__all__ = ["TYPES", "StoreIndex", "case_file", "checksum", "image_part", "mask_part", "places_part"]

TYPES = {"images": ("<f4", "<f2", "|u1"), "mask": ("<i2",), "places": ("<u4",)}
"""Number types of the arrays of each kind."""


class StoreIndex(Config):
    """What a store holds.

    An array lies in a *part*: a file NAME.npy with one row for each case, or a folder NAME with a
    file for each case that has it.

    Args:
        key: the folder's name.
        ids: case ids in the order of the rows.
        uniform: whether all images have one shape and lie in one file.
        channels: of every image.
        dims: 2 or 3.
        shape: (C, *S) of every image; empty where they differ.
        space: what the values are.
        checksums: by part, the SHA-256 of each case's array, "" where a case has none.
        lowest: by case, the smallest stored value of each channel.
        grids: the different placements of images.
        grid_of: by case, which of `grids` is its own.
        places: by head and case, how many element positions are kept of each class above 0.
        constant: ids of images whose values are all alike; standardised they are zeros.
        cropped: ids of cases that lost labelled elements to the crop.
        preprocess: how the images were made; a median spacing is resolved.
    """

    key: str
    ids: tuple[str, ...]
    uniform: bool
    channels: int
    dims: int
    shape: tuple[int, ...]
    space: Space
    checksums: Mapping[str, tuple[str, ...]]
    lowest: tuple[tuple[float, ...], ...]
    grids: tuple[Placement, ...]
    grid_of: tuple[int, ...]
    places: Mapping[str, tuple[tuple[tuple[int, int], ...], ...]] = {}
    constant: tuple[str, ...] = ()
    cropped: tuple[str, ...] = ()
    preprocess: Preprocess

    @property
    def image_sums(self) -> tuple[str, ...]:
        """The SHA-256 of each image."""
        return self.checksums[image_part(self.uniform)]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on the images that a report must carry."""
        out = []
        if self.constant:
            few = ", ".join(self.constant[:3])
            out.append(f"{len(self.constant)} images hold one constant value (first: {few}).")
        if self.cropped:
            few = ", ".join(self.cropped[:3])
            out.append(f"{len(self.cropped)} cases have labels outside the foreground that was kept (first: {few}).")
        return tuple(out)

    def shape_in(self, part: str, row: int) -> tuple[int, ...]:
        """Return the shape that a case's array must have."""
        kind = _kind(part)
        if kind == "places":
            head = next(head for head in self.places if places_part(head) == part)
            return (sum(count for _, count in self.places[head][row]),)
        spatial = self.grids[self.grid_of[row]].shape
        return (self.channels, *spatial) if kind == "images" else spatial

    def types_in(self, part: str) -> tuple[str, ...]:
        """Return the number types that arrays of a part may have."""
        return TYPES[_kind(part)]


def checksum(row: npt.NDArray[Any]) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest()


def image_part(uniform: bool) -> str:
    """Return where the images lie."""
    return "images.npy" if uniform else "images"


def mask_part(head: str, uniform: bool) -> str:
    """Return where the masks of `head` lie."""
    return f"mask-{_safe(head)}{'.npy' if uniform else ''}"


def places_part(head: str) -> str:
    """Return where the element positions of each class of `head` lie."""
    return f"places-{_safe(head)}"


def case_file(part: str, row: int) -> str:
    """Return the file of one case in a part that is a folder."""
    return f"{part}/{row:06d}.npy"


def _safe(head: str) -> str:
    return head if head.isidentifier() else head.encode().hex()


def _kind(part: str) -> str:
    return part.partition("-")[0].removesuffix(".npy")
