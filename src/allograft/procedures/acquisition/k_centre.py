"""K-centre: the cases that leave no unlabelled case far from a labelled one; the core-set approach.

Idea      Uncertain cases are often alike. Labels spread so that every case has a labelled neighbour in feature
          space say most about all of them; what the network predicts plays no part.
Paper     Sener, Savarese. Active learning for convolutional neural networks: a core-set approach. ICLR 2018.
          arXiv:1708.00489
Formula   greedily argmax_j min_{l in labelled} || f_j - f_l ||_2, each pick joins the labelled
Streams   none: features of labelled and unlabelled cases.
Defaults  level = -1 (ours).  distance = "euclidean" (paper).
Differs   1. The greedy 2-approximation alone, without the mixed-integer refinement of the paper. 2. Features are
          the mean over positions of a level of the encoder (ours).
Checked   tests/reference/test_acquisitions.py: by hand; its radius is at most twice the best of all subsets.
"""

from __future__ import annotations

from typing import ClassVar

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.functional.farthest import Distance, farthest
from allograft.procedures.acquisition.acquisition import Situation

__all__ = ["KCentre"]


class KCentre(Method):
    """Cover the unlabelled cases, greedily.

    Args:
        level: of the encoder, whose features are compared; -1 is the deepest.
        distance: "euclidean" or "cosine".
    """

    name: ClassVar[str] = "k_centre"
    paper: ClassVar[Reference] = Reference(
        title="Active Learning for Convolutional Neural Networks: A Core-Set Approach",
        authors=("Sener", "Savarese"),
        year=2018,
        venue="ICLR",
        arxiv="1708.00489",
    )

    level: int = -1
    distance: Distance = "euclidean"

    def pick(self, state: Situation, count: int, seed: int) -> tuple[str, ...]:
        """Return `count` ids in the order of the greedy choice; ties by index."""
        points = state.features(range(len(state.ids)), self.level)
        chosen = farthest(points, state.labelled(self.level), count, rule="min", distance=self.distance)
        return tuple(state.ids[i] for i in chosen)
