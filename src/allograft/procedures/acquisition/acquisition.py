"""Acquisition: what may be asked about a round, and what chooses the cases to be labelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from allograft.core.reference import Reference
from allograft.functional.uncertainty import Measure

__all__ = ["Acquisition", "Situation"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Situation:
    """Where a round stands; nothing is computed before it is asked for.

    Args:
        ids: N unlabelled cases, in order.
        doubt: from a measure and a number of noisy passes (0: one without noise) to (N,) doubts; of masks the
            mean over elements.
        features: from rows of `ids` and a level of the encoder to (len(rows), F), in the order of the rows.
        labelled: from a level to the features (M, F) of the labelled cases.
    """

    ids: tuple[str, ...]
    doubt: Callable[[Measure, int], npt.NDArray[np.float64]]
    features: Callable[[Sequence[int], int], Array]
    labelled: Callable[[int], Array]


@runtime_checkable
class Acquisition(Protocol):
    """Which cases to ask for."""

    name: ClassVar[str]
    paper: ClassVar[Reference]

    def pick(self, state: Situation, count: int, seed: int) -> tuple[str, ...]:
        """Return at most `count` different ids out of `state.ids`, the most wanted first."""
