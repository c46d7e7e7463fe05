"""Patches of a stream: where each is taken, as a function of the seed alone, and reading just that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import ConfigError, DataError
from allograft.data.case import Case
from allograft.data.patches import Patches
from allograft.data.store import Store

__all__ = [
    "IGNORED",
    "Corner",
    "check_patches",
    "check_store",
    "check_whole",
    "draw_corner",
    "read_cut",
    "read_image",
    "read_mask",
]

IGNORED = -1
"""Label of elements outside the image: they reach no loss."""

Corner = tuple[int, ...]
"""First element of a patch along each axis; below 0 where the image is padded."""


def draw_corner(rng: np.random.Generator, store: Store, name: str, patches: Patches, heads: Sequence[str]) -> Corner:
    """Return where a patch of a case begins.

    With probability `patches.foreground` it is centred on a random element of a random class above 0
    that the case holds, each class equally likely, and moved inside the image; otherwise, and where
    the case holds none, every position inside the image is equally likely. Along an axis that is
    shorter than the patch the image lies in its middle.

    Args:
        rng: everything random comes from it.
        store: holds the case.
        name: the case's id.
        patches: size and share.
        heads: whose masks may be looked at; those that the case has.

    Returns:
        The first element along each axis; below 0 where the image is padded.
    """
    shape = store.placement(name).shape
    room = [n - p for n, p in zip(shape, patches.size, strict=True)]
    centred = rng.random() < patches.foreground
    places = [spots for head in heads for spots in store.places(name, head).values()] if centred else []
    if places:
        spots = places[int(rng.integers(len(places)))]
        centre = np.unravel_index(int(spots[rng.integers(len(spots))]), shape)
        wanted = [int(c) - p // 2 for c, p in zip(centre, patches.size, strict=True)]
    else:
        wanted = [int(rng.integers(max(free, 0) + 1)) for free in room]
    return tuple(min(max(first, 0), free) if free >= 0 else free // 2 for first, free in zip(wanted, room, strict=True))


def read_image(store: Store, name: str, corner: Corner, size: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the patch of an image, (C, *size); outside it lies each channel's own smallest value."""
    inside, padding = _cut(store, name, corner, size)
    found = store.image(name, inside)
    if not any(map(any, padding)):
        return found
    lowest = store.lowest(name)
    return np.stack([np.pad(x, padding, constant_values=low) for x, low in zip(found, lowest, strict=True)])


def read_mask(store: Store, name: str, head: str, corner: Corner, size: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the patch of a mask, (*size); outside the image lies -1, which is ignored."""
    return read_cut(store, name, corner, size, lambda inside: store.mask(name, head, inside), IGNORED)


def read_cut(
    store: Store,
    name: str,
    corner: Corner,
    size: Sequence[int],
    read: Callable[[tuple[slice, ...]], npt.NDArray[Any]],
    outside: float,
) -> npt.NDArray[Any]:
    """Return the patch of what `read` gives for a box of the image, (*size), with `outside` where the image ends."""
    inside, padding = _cut(store, name, corner, size)
    found = read(inside)
    return np.pad(found, padding, constant_values=outside) if any(map(any, padding)) else found


def check_store(name: str, store: Store, cases: Sequence[Case], heads: Sequence[str]) -> None:
    """Refuse a store that lacks a case, or a mask that a case has.

    Raises:
        DataError: what is missing; names the stream and the case.
    """
    missing = {case.id for case in cases} - set(store.index.ids)
    if missing:
        msg = f"stream {name!r}: {len(missing)} cases are not in its store, first {min(missing)!r}."
        raise DataError(msg)
    for head in heads:
        lost = [case.id for case in cases if head in case.targets and not store.has_mask(case.id, head)]
        if lost:
            msg = (
                f"stream {name!r}: the store has no mask {head!r} of {len(lost)} cases that have one, first "
                f"{lost[0]!r}. Build the store of the cohort with these masks."
            )
            raise DataError(msg)


def check_whole(name: str, store: Store) -> None:
    """Refuse whole images that differ in size.

    Raises:
        DataError: they do; names the stream.
    """
    try:
        _ = store.shape
    except DataError as error:
        msg = f"stream {name!r}: {error}"
        raise DataError(msg) from error


def check_patches(name: str, store: Store, patches: Patches, cases: Sequence[Case], heads: Sequence[str]) -> None:
    """Refuse patches that cannot be cut, or that have no class to be centred on.

    Args:
        name: of the stream.
        store: holds the cases.
        patches: size and share.
        cases: of the stream.
        heads: whose masks are handed out; none where patches may lie anywhere.

    Raises:
        ConfigError: the patches have other axes than the images, or every mask holds background only.
    """
    if len(patches.size) != store.dims:
        msg = (
            f"stream {name!r}: patches.size {patches.size} has {len(patches.size)} axes, the images are "
            f"{store.dims}-D. Give one length an axis."
        )
        raise ConfigError(msg)
    pairs = ((case, head) for head in heads for case in cases if head in case.targets)
    if patches.foreground and heads and not any(store.places(case.id, head) for case, head in pairs):
        msg = (
            f"stream {name!r}: patches.foreground is {patches.foreground:.3g}, but the masks of all {len(cases)} cases "
            "hold background only. Check the masks, or set foreground: 0."
        )
        raise ConfigError(msg)


def _cut(
    store: Store, name: str, corner: Corner, size: Sequence[int]
) -> tuple[tuple[slice, ...], list[tuple[int, int]]]:
    """Return the part of a patch that lies inside the image, and what to add before and after along each axis."""
    shape = store.placement(name).shape
    ends = [c + p for c, p in zip(corner, size, strict=True)]
    inside = tuple(slice(max(c, 0), min(e, n)) for c, e, n in zip(corner, ends, shape, strict=True))
    return inside, [(max(-c, 0), max(e - n, 0)) for c, e, n in zip(corner, ends, shape, strict=True)]
