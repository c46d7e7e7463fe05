"""Voxel heads: a fitted classifier of voxels, written into the head of a network that then decides alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from allograft.nets.heads.kernel_voxel import KernelVoxelHead
from allograft.nets.network import Network
from allograft.shallow.kernel_svm import Expansion

__all__ = ["NEVER", "all_outputs", "write_voxels"]

Array = npt.NDArray[np.float64]

NEVER = 1e3
"""Logit that keeps a class away which no training voxel has."""


def write_voxels(net: Network, head: str, expansion: Expansion, centre: Array, scale: Array) -> None:
    """Write a classifier of standardised features into the kernel head called `head`.

    Args:
        net: the network.
        head: a `KernelVoxelHead`.
        expansion: with an output for each class, see `all_outputs`.
        centre: (F,) is taken off the features.
        scale: (F,) divides them then.
    """
    own = net.heads[head]
    assert isinstance(own, KernelVoxelHead), "a segmentation with net.anchors has one"
    votes = np.zeros((0, 0)) if expansion.votes is None else expansion.votes
    parts = {
        "centre": centre,
        "scale": scale,
        "points": expansion.points,
        "theta": expansion.theta,
        "rates": expansion.rates,
        "coef": expansion.coef,
        "intercept": expansion.intercept,
        "votes": votes,
    }
    own.write({name: torch.as_tensor(np.asarray(value, dtype=np.float32)) for name, value in parts.items()})


def all_outputs(found: Expansion, seen: npt.NDArray[np.int64], outputs: int) -> Expansion:
    """Return the classifier with an output for every class; those that it has not seen are never chosen.

    Args:
        found: of two classes one output, else one for each.
        seen: (C,) the classes that it knows, in order.
        outputs: classes in all.
    """
    if len(seen) == outputs:
        return found
    decisions = len(found.coef)
    rows = np.eye(decisions) if found.votes is None else found.votes
    rows = np.concatenate([-rows / 2, rows / 2]) if len(seen) == 2 else rows
    spread = np.zeros((outputs, decisions))
    spread[seen] = rows
    absent = np.setdiff1d(np.arange(outputs), seen)
    if found.votes is None:
        intercept = spread @ found.intercept
        intercept[absent] = -NEVER
        return found._replace(coef=spread @ found.coef, intercept=intercept)
    never = np.zeros((outputs, 1))
    never[absent] = NEVER
    coef = np.concatenate([found.coef, np.zeros((1, found.coef.shape[1]))])
    votes = np.concatenate([spread, never], axis=1)
    return found._replace(coef=coef, intercept=np.append(found.intercept, -1.0), votes=votes)
