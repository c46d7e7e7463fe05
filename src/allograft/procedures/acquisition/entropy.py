"""Entropy: the cases that the network is least sure of; uncertainty sampling.

Idea      Ask for what the network cannot decide: a label there tells it most.
Paper     Settles. Active learning literature survey. University of Wisconsin-Madison, report 1648, 2009.
Formula   argmax H(p) = -sum_c p_c log2 p_c;  of a mask the mean of H over its elements, of several labels over these
Streams   none: one pass without noise over the unlabelled cases.
Defaults  none.
Differs   1. Masks and several labels of a case: the mean over elements or labels (ours).
Checked   tests/reference/test_acquisitions.py: worked entropies; p of 0 and 1 give 0; H(p) = H(1 - p) >= 0.
"""

from __future__ import annotations

from typing import ClassVar

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.functional.uncertainty import most_doubtful
from allograft.procedures.acquisition.acquisition import Situation
from allograft.procedures.acquisition.measures import entropy

__all__ = ["Entropy"]


class Entropy(Method):
    """Take the highest entropies."""

    name: ClassVar[str] = "entropy"
    paper: ClassVar[Reference] = Reference(
        title="Active Learning Literature Survey",
        authors=("Settles",),
        year=2009,
        venue="University of Wisconsin-Madison, Computer Sciences Technical Report 1648",
    )

    def pick(self, state: Situation, count: int, seed: int) -> tuple[str, ...]:
        """Return the `count` ids of the highest entropy, the highest first; ties by index."""
        return tuple(state.ids[i] for i in most_doubtful(state.doubt(entropy, 0), count))
