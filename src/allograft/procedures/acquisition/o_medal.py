"""O-MedAL: MedAL with the distance to the centroid of the labelled cases, which costs one distance a case.

Idea      The mean of the distances to all labelled cases grows with their number; the distance to their mean
          does not, and it is updated with each pick. The two are not equal and choose different cases.
Paper     Smailagic et al. O-MedAL: online active deep learning for medical image analysis. WIREs Data Mining and
          Knowledge Discovery, 2020.  doi:10.1002/widm.1353  arXiv:1908.10508
Formula   C = the M of largest H(p);  then k times  argmax_{j in C} || f_j - mean_{l in labelled} f_l ||_2, which
          joins the labelled
Streams   none: one pass without noise over the unlabelled cases, features of the M and of the labelled.
Defaults  candidates = 50 (paper).  level = -2 (ours; the paper's for ResNet-18 is its second stage).
          distance = "euclidean" (paper).
Differs   1. Training on a part of the old cases is the procedure's (active_learning, online), not this file's.
Checked   tests/reference/test_acquisitions.py: the worked example where mean and centroid pick other cases; the
          centroid moves with every pick.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.functional.farthest import Distance, farthest
from allograft.functional.uncertainty import most_doubtful
from allograft.procedures.acquisition.acquisition import Situation
from allograft.procedures.acquisition.measures import entropy

__all__ = ["OMedAL"]


class OMedAL(Method):
    """Uncertain first, then far from the centroid of what is labelled.

    Args:
        candidates: M, how many of the most uncertain cases are compared; 0 for all. At least as many as are asked
            for are compared.
        level: of the encoder, whose features are compared; -1 is the deepest.
        distance: "euclidean" or "cosine".
    """

    name: ClassVar[str] = "o_medal"
    paper: ClassVar[Reference] = Reference(
        title="O-MedAL: Online Active Deep Learning for Medical Image Analysis",
        authors=("Smailagic", "et al."),
        year=2020,
        venue="WIREs Data Mining and Knowledge Discovery",
        doi="10.1002/widm.1353",
        arxiv="1908.10508",
    )

    candidates: int = Field(default=50, ge=0)
    level: int = -2
    distance: Distance = "euclidean"

    def pick(self, state: Situation, count: int, seed: int) -> tuple[str, ...]:
        """Return `count` ids in the order of the greedy choice; ties by index."""
        most = max(self.candidates, count) if self.candidates else len(state.ids)
        rows = sorted(most_doubtful(state.doubt(entropy, 0), most))
        points, known = state.features(rows, self.level), state.labelled(self.level)
        chosen = farthest(points, known, count, rule="centroid", distance=self.distance)
        return tuple(state.ids[rows[i]] for i in chosen)
