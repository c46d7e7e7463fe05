"""Fusion: what several networks said of the same cases, made one.

Ghosal, Shah. 2020. arXiv:2011.05791 (networks trained from different sources, their outputs or masks averaged).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.data.predictions import Predictions, logits_of

__all__ = ["mean_of", "vote"]


def mean_of(members: Sequence[Predictions]) -> Predictions:
    """Return the mean of the probabilities of several networks; logits are those of the mean.

    Args:
        members: of the same task and cases, in any order of cases; the first one's order is kept.

    Raises:
        DataError: no members, other cases or other targets.
    """
    if not members:
        msg = "a fusion needs members, got none."
        raise DataError(msg)
    first = members[0]
    rows = []
    for one in members:
        at = {name: i for i, name in enumerate(one.ids)}
        if set(at) != set(first.ids) or one.task != first.task:
            msg = (
                f"a fusion is of predictions of the same task and cases; got {len(first.ids)} and {len(one.ids)} cases."
            )
            raise DataError(msg)
        order = [at[name] for name in first.ids]
        if not np.array_equal(one.targets[order], first.targets):
            msg = "a fusion is of predictions of the same cases, but their targets differ. Were labels changed between?"
            raise DataError(msg)
        rows.append(one.probabilities[order])
    mean = np.mean(rows, axis=0)
    return replace(first, probabilities=mean, logits=logits_of(mean, first.task))


def vote(maps: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return the class that most label maps give each element.

    A tie that the background is part of goes to a structure (of two masks: their union), one between structures to
    the map that is named first.

    Args:
        maps: (*S) classes, 0 is the background.

    >>> vote([np.array([0, 1, 2, 2]), np.array([0, 0, 1, 2]), np.array([1, 0, 1, 0])])
    array([0, 0, 1, 2])
    """
    votes = [sum((other == one).astype(np.int16) for other in maps) for one in maps]
    most = np.maximum.reduce([*votes, sum((one == 0).astype(np.int16) for one in maps)])
    out = np.zeros_like(maps[0])
    for one, count in zip(reversed(maps), reversed(votes), strict=True):
        out = np.where((count == most) & (one > 0), one, out)
    return out
