"""Places: where the elements of each class lie in a mask, so that patches find them without reading it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.seeds import seed_for

__all__ = ["MOST_PLACES", "class_places"]

MOST_PLACES = 10_000
"""Positions kept of a class in one case; of more elements, as many are drawn (ours, as nnU-Net's)."""

Counts = tuple[tuple[int, int], ...]


def class_places(mask: npt.NDArray[Any], name: str) -> tuple[npt.NDArray[np.uint32], Counts]:
    """Return positions of elements of every class above 0 that a mask holds.

    Args:
        mask: (*S) labels; 0 is background and values below 0 are ignored.
        name: of the case; with the mask it alone decides which positions are drawn.

    Returns:
        Flat positions in C order, class after class, ascending in each; and (class, how many) in
        that order.
    """
    flat = np.flatnonzero(mask > 0).astype(np.uint32)
    labels = mask.reshape(-1)[flat]
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    kept: list[npt.NDArray[np.uint32]] = [np.empty(0, np.uint32)]
    for label, members in zip(classes, np.split(flat[order], starts[1:]), strict=len(classes) > 0):
        chosen = members
        if len(members) > MOST_PLACES:
            rng = np.random.default_rng(seed_for("places", name, int(label)))
            chosen = members[np.sort(rng.choice(len(members), MOST_PLACES, replace=False, shuffle=False))]
        kept.append(chosen)
    counts = tuple((int(label), len(part)) for label, part in zip(classes, kept[1:], strict=True))
    return np.concatenate(kept), counts
