"""Agreement: how much of what a network proposed is true; for reports, nothing learns from it."""

from __future__ import annotations

import numpy as np

from allograft.data.case import ImageRef
from allograft.data.cohort import Cohort
from allograft.data.store import Store

__all__ = ["agreement"]


def agreement(guess: Cohort, truth: Cohort, store: Store) -> float | None:
    """Return the share of proposed classes that are true, None where no truth is known.

    Args:
        guess: cases with proposed targets: classes, probabilities, or masks in `guess.proposals`.
        truth: cases with true ones; those that are missing there do not count.
        store: holds the true masks on the grid of the proposed ones.

    Returns:
        Over cases; of masks the mean over cases of the share of elements, among those that weigh something.
    """
    head, known = truth.task.head, {case.id: case.targets.get(truth.task.head) for case in truth}
    shares = []
    for case in guess:
        said, true = case.targets.get(head), known.get(case.id)
        if said is None or true is None:
            continue
        if guess.proposals is not None and isinstance(true, ImageRef):
            counted = guess.proposals.weight(case.id) > 0
            if counted.any():
                right = guess.proposals.mask(case.id) == store.mask(case.id, head)
                shares.append(float(right[counted].mean()))
        elif not isinstance(said, ImageRef) and not isinstance(true, ImageRef):
            shares.append(float(_class(said) == _class(true)))
    return float(np.mean(shares)) if shares else None


def _class(value: float | tuple[float, ...]) -> float | tuple[bool, ...]:
    """Return the likeliest class of probabilities; of several labels each one's own."""
    if not isinstance(value, tuple):
        return value
    several = abs(sum(value) - 1) > 1e-3
    return tuple(v >= 0.5 for v in value) if several else int(np.argmax(value))
