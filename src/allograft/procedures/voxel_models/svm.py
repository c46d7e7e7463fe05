"""SVM: a kernel machine of voxels, the plain one.

Idea      Every voxel is a sample: its features say what it is. The baseline of the transfer classifiers, and the
          machine behind image weighting.
Paper     Cortes, Vapnik. Support-vector networks. Machine Learning 1995.
Formula   min_v |v|^2 / 2 + C sum_i w_i max(0, 1 - y_i f(x_i)), one class against the rest
Streams   labelled voxels of the training cases.
Defaults  none (C, kernel and map are the procedure's).
Differs   none.
Checked   tests/reference/test_voxel_models.py: scikit-learn's SVC; equal weights change nothing.
"""

from __future__ import annotations

from typing import ClassVar

from allograft.contracts import Method
from allograft.core.reference import Reference
from allograft.procedures.voxel_models.voxel_model import Fitted, VoxelSamples
from allograft.shallow.kernel_svm import KernelSVM

__all__ = ["PlainSVM"]


class PlainSVM(Method):
    """Weigh every labelled voxel as the procedure does."""

    name: ClassVar[str] = "svm"
    paper: ClassVar[Reference] = Reference(
        title="Support-Vector Networks", authors=("Cortes", "Vapnik"), year=1995, venue="Machine Learning"
    )
    reads_target: ClassVar[bool] = False

    def fit(self, samples: VoxelSamples, machine: KernelSVM) -> Fitted:
        """Fit to all labelled voxels alike."""
        machine.fit(samples.x, samples.y, samples.weights)
        return Fitted(machine.expansion(), machine.classes_, {})
