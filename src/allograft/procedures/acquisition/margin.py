"""Margin: the cases whose two likeliest classes are closest.

Idea      With many classes entropy also counts classes that are out of the question; the lead of the first
          over the second is what decides.
Paper     Scheffer, Decomain, Wrobel. Active hidden Markov models for information extraction. IDA 2001.
Formula   argmin (p_(1) - p_(2)), the two largest probabilities;  of a mask its mean over elements
Streams   none: one pass without noise over the unlabelled cases.
Defaults  none.
Differs   1. Masks and several labels of a case: the mean over elements or labels (ours).
Checked   tests/reference/test_acquisitions.py: by hand on three classes; the order of entropy for two classes.
"""

from __future__ import annotations

from typing import ClassVar

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.functional.uncertainty import most_doubtful
from allograft.procedures.acquisition.acquisition import Situation
from allograft.procedures.acquisition.measures import margin

__all__ = ["Margin"]


class Margin(Method):
    """Take the smallest leads."""

    name: ClassVar[str] = "margin"
    paper: ClassVar[Reference] = Reference(
        title="Active Hidden Markov Models for Information Extraction",
        authors=("Scheffer", "Decomain", "Wrobel"),
        year=2001,
        venue="Intelligent Data Analysis",
    )

    def pick(self, state: Situation, count: int, seed: int) -> tuple[str, ...]:
        """Return the `count` ids of the smallest lead, the smallest first; ties by index."""
        return tuple(state.ids[i] for i in most_doubtful(state.doubt(margin, 0), count))
