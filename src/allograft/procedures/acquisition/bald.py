"""BALD: the cases about which networks that all fit the labels disagree.

Idea      Noise in an image makes every network unsure, and no label helps; what several networks are sure of,
          each of something else, a label decides. Dropout in prediction stands for several networks.
Paper     Houlsby, Huszar, Ghahramani, Lengyel. Bayesian active learning for classification and preference
          learning. 2011. arXiv:1112.5745; by dropout: Gal, Islam, Ghahramani. ICML 2017. arXiv:1703.02910
Formula   argmax H(mean_k p_k) - mean_k H(p_k), over K passes with dropout;  of a mask its mean over elements
Streams   none: K noisy passes over the unlabelled cases.
Defaults  passes = 20 (ours).
Differs   1. Masks and several labels of a case: the mean over elements or labels (ours). 2. The network of the
          recipe must have dropout (net.dropout above 0): without it no pass differs, which is an error.
Checked   tests/reference/test_acquisitions.py: by hand; passes that agree give 0 however unsure; noise is needed.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.functional.uncertainty import most_doubtful
from allograft.procedures.acquisition.acquisition import Situation
from allograft.procedures.acquisition.measures import disagreement

__all__ = ["BALD"]


class BALD(Method):
    """Take the highest mutual information between class and network.

    Args:
        passes: predictions with dropout, >= 2.
    """

    name: ClassVar[str] = "bald"
    paper: ClassVar[Reference] = Reference(
        title="Deep Bayesian Active Learning with Image Data",
        authors=("Gal", "Islam", "Ghahramani"),
        year=2017,
        venue="ICML",
        arxiv="1703.02910",
    )

    passes: int = Field(default=20, ge=2)

    def pick(self, state: Situation, count: int, seed: int) -> tuple[str, ...]:
        """Return the `count` ids of the highest disagreement, the highest first; ties by index."""
        return tuple(state.ids[i] for i in most_doubtful(state.doubt(disagreement, self.passes), count))
