"""Order: which case stands where in an endless stream, as a function of the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from allograft.core.seeds import seed_for

__all__ = ["balanced_places", "places"]


def places(seed: int, name: str, count: int, batch: int, step: int) -> list[int]:
    """Return the cases of a step: `batch` indices in [0, count).

    The stream is an endless run of epochs, each a fresh permutation of all cases; batches are cut
    from it one after another. So every case comes once an epoch, every batch is full also where it
    is larger than the data, and any step can be had without those before it.
    """
    return [
        int(_permutation(seed, name, "epoch", position // count, count)[position % count])
        for position in range(step * batch, (step + 1) * batch)
    ]


def balanced_places(seed: int, name: str, classes: Sequence[Sequence[int]], batch: int, step: int) -> list[int]:
    """Return the cases of a step with every class equally often.

    Each run of L positions holds each of the L classes once, in random order; within a class
    cases come in permutations, as in `places`.

    Args:
        seed: of the run.
        name: of the stream.
        classes: indices of the cases of each class, none empty.
        batch: cases in a step.
        step: 0, 1, ...
    """
    out, number = [], len(classes)
    for position in range(step * batch, (step + 1) * batch):
        block = position // number
        which = int(_permutation(seed, name, "classes", block, number)[position % number])
        members = classes[which]
        epoch = _permutation(seed, name, f"class-{which}", block // len(members), len(members))
        out.append(members[int(epoch[block % len(members)])])
    return out


@lru_cache(maxsize=256)
def _permutation(seed: int, name: str, what: str, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed_for(seed, name, what, epoch)).permutation(count)
