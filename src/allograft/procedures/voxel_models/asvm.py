"""A-SVM: the source's classifier and the smallest correction that the target's voxels ask for.

Idea      f = f_src + df: the target's classifier is drawn towards the source's instead of towards zero.
Paper     van Opbroek, Ikram, Vernooij, de Bruijne. Transfer learning improves supervised image segmentation across
          imaging protocols. IEEE Transactions on Medical Imaging 2015.  doi:10.1109/TMI.2014.2366792;
          the machine: Yang, Yan, Hauptmann. ACM Multimedia 2007
Formula   max_a sum_i a_i (1 - y_i f_src(x_i)) - 1/2 sum_ij a_i a_j y_i y_j k(x_i, x_j),   0 <= a_i <= C w_i
Streams   labelled voxels of source and target cases (learn: both).
Defaults  correction = 1 (ours).
Differs   none.
Checked   tests/reference/test_voxel_models.py: SLSQP; without target samples f = f_src.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.procedures.voxel_models.voxel_model import Fitted, VoxelSamples, require_both
from allograft.shallow.adaptive_svm import AdaptiveSVM
from allograft.shallow.kernel_svm import KernelSVM

__all__ = ["ASVM"]


class ASVM(Method):
    """Correct the source's classifier.

    Args:
        correction: an error on the target costs correction times C, > 0.
    """

    name: ClassVar[str] = "asvm"
    paper: ClassVar[Reference] = Reference(
        title="Transfer Learning Improves Supervised Image Segmentation Across Imaging Protocols",
        authors=("van Opbroek", "Ikram", "Vernooij", "de Bruijne"),
        year=2015,
        venue="IEEE Transactions on Medical Imaging",
        doi="10.1109/TMI.2014.2366792",
    )
    reads_target: ClassVar[bool] = False

    correction: float = Field(default=1.0, gt=0)

    def fit(self, samples: VoxelSamples, machine: KernelSVM) -> Fitted:
        """Fit to the source, then correct on the target."""
        require_both(samples, self.name)
        model = AdaptiveSVM(machine, correction=self.correction)
        model.fit(samples.x, samples.y, samples.weights, target=samples.own)
        return Fitted(model.expansion(), model.classes_, {"target_voxels": float(samples.own.sum())})
