"""MedAL: of the most uncertain cases those that lie farthest from everything labelled.

Idea      Uncertain cases crowd together, and far ones may be easy: ask for cases that are both. Among the M most
          uncertain each pick is the one with the largest mean feature distance to the labelled cases.
Paper     Smailagic et al. MedAL: accurate and robust deep active learning for medical image analysis.
          ICMLA 2018.  arXiv:1809.09287
Formula   C = the M of largest H(p);  then k times  argmax_{j in C} mean_{l in labelled} d(f_j, f_l), which joins
          the labelled
Streams   none: one pass without noise over the unlabelled cases, features of the M and of the labelled.
Defaults  candidates = 50 (paper).  level = -2 (ours; a middle level, as in the paper).  distance = "euclidean"
          (paper).  rule = "mean" (paper).
Differs   1. Entropy has both terms for two classes (a script of the paper's team has a wrong sign). 2. The mean
          favours outliers; rule = "min" and "centroid" are options (ours). 3. M = k is uncertainty sampling as
          a set, and 0 candidates stands for all of them: pure diversity.
Checked   tests/reference/test_acquisitions.py: the worked picks for M = 4 and M = 5 under each rule; both limits.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.functional.farthest import Distance, Rule, farthest
from allograft.functional.uncertainty import most_doubtful
from allograft.procedures.acquisition.acquisition import Situation
from allograft.procedures.acquisition.measures import entropy

__all__ = ["MedAL"]


class MedAL(Method):
    """Uncertain first, then far from what is labelled.

    Args:
        candidates: M, how many of the most uncertain cases are compared; 0 for all. At least as many as are asked
            for are compared.
        level: of the encoder, whose features are compared; -1 is the deepest.
        distance: "euclidean" or "cosine".
        rule: distance to the labelled cases: "mean" over them, to their "centroid" (O-MedAL), or "min", to the
            nearest.
    """

    name: ClassVar[str] = "medal"
    paper: ClassVar[Reference] = Reference(
        title="MedAL: Accurate and Robust Deep Active Learning for Medical Image Analysis",
        authors=("Smailagic", "et al."),
        year=2018,
        venue="ICMLA",
        arxiv="1809.09287",
    )

    candidates: int = Field(default=50, ge=0)
    level: int = -2
    distance: Distance = "euclidean"
    rule: Rule = "mean"

    def pick(self, state: Situation, count: int, seed: int) -> tuple[str, ...]:
        """Return `count` ids in the order of the greedy choice; ties by index."""
        most = max(self.candidates, count) if self.candidates else len(state.ids)
        rows = most_doubtful(state.doubt(entropy, 0), most)
        rows.sort()  # ties of the distance by index, not by uncertainty
        points, known = state.features(rows, self.level), state.labelled(self.level)
        chosen = farthest(points, known, count, rule=self.rule, distance=self.distance)
        return tuple(state.ids[rows[i]] for i in chosen)
