"""RSVM: source voxels that contradict the classifier lose their weight.

Idea      Fit to all voxels, let those of the source that come out wrong count less, fit again, until none does.
Paper     van Opbroek, Ikram, Vernooij, de Bruijne. Transfer learning improves supervised image segmentation across
          imaging protocols. IEEE Transactions on Medical Imaging 2015.  doi:10.1109/TMI.2014.2366792
Formula   w_i <- shrink w_i for i of the source with y_i f(x_i) <= 0;  fit again;  until there is no such i
Streams   labelled voxels of source and target cases (learn: both).
Defaults  shrink = 0.5 (ours; the paper's formula was not open to us).  most = 20 (ours).
Differs   Each class against the rest has weights of its own.
Checked   tests/reference/test_voxel_models.py: a mislabelled source sample ends at 0; without one it is the plain
          machine; target weights stay.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.procedures.voxel_models.voxel_model import Fitted, VoxelSamples, require_both
from allograft.shallow.kernel_svm import KernelSVM
from allograft.shallow.reweighted_svm import ReweightedSVM

__all__ = ["RSVM"]


class RSVM(Method):
    """Let go of source voxels that come out wrong.

    Args:
        shrink: factor of the weight of a wrong source voxel, in (0, 1).
        most: fits at most, >= 1.
    """

    name: ClassVar[str] = "rsvm"
    paper: ClassVar[Reference] = Reference(
        title="Transfer Learning Improves Supervised Image Segmentation Across Imaging Protocols",
        authors=("van Opbroek", "Ikram", "Vernooij", "de Bruijne"),
        year=2015,
        venue="IEEE Transactions on Medical Imaging",
        doi="10.1109/TMI.2014.2366792",
    )
    reads_target: ClassVar[bool] = False

    shrink: float = Field(default=0.5, gt=0, lt=1)
    most: int = Field(default=20, ge=1)

    def fit(self, samples: VoxelSamples, machine: KernelSVM) -> Fitted:
        """Fit to both domains, round by round."""
        require_both(samples, self.name)
        model = ReweightedSVM(machine, shrink=self.shrink, most=self.most)
        model.fit(samples.x, samples.y, samples.weights, target=samples.own)
        kept = float((model.weights_[~samples.own] > 0).mean())
        return Fitted(model.expansion(), model.classes_, {"fits": float(model.rounds_.max()), "source_kept": kept})
