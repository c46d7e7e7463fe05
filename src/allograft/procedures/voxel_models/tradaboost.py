"""TrAdaBoost: boosting that trusts the target's errors and distrusts the source's.

Idea      Wrong target voxels gain weight, wrong source voxels lose it; the later half of the rounds votes.
Paper     Dai, Yang, Xue, Yu. Boosting for transfer learning. ICML 2007.
Formula   e = error on the target;  beta_t = e / (1 - e);  beta = 1 / (1 + sqrt(2 ln n_s / N));
          source w *= beta^|h - y|;  target w *= beta_t^-|h - y|;  a vote of the later half, with weights -ln beta_t
Streams   labelled voxels of source and target cases (learn: both).
Defaults  most = 10 (ours).
Differs   See `allograft.shallow.tradaboost`: what happens at e = 0 and e >= 1/2.
Checked   tests/reference/test_voxel_models.py: the worked step; beta_t is not e / (2 - e); the vote.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.procedures.voxel_models.voxel_model import Fitted, VoxelSamples, require_both
from allograft.shallow.kernel_svm import KernelSVM
from allograft.shallow.tradaboost import TrAdaBoost

__all__ = ["Boosting"]


class Boosting(Method):
    """Boost kernel machines.

    Args:
        most: rounds N, >= 1.
    """

    name: ClassVar[str] = "tradaboost"
    paper: ClassVar[Reference] = Reference(
        title="Boosting for Transfer Learning", authors=("Dai", "Yang", "Xue", "Yu"), year=2007, venue="ICML"
    )
    reads_target: ClassVar[bool] = False

    most: int = Field(default=10, ge=1)

    def fit(self, samples: VoxelSamples, machine: KernelSVM) -> Fitted:
        """Boost on both domains."""
        require_both(samples, self.name)
        model = TrAdaBoost(machine, most=self.most)
        model.fit(samples.x, samples.y, samples.weights, target=samples.own)
        return Fitted(model.expansion(), model.classes_, {"rounds": float(max(map(len, model.errors_)))})
