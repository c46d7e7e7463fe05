"""DAN: features whose means agree between domains under many kernels at once.

Idea      Two samples of one law have equal means in a rich enough feature space. The maximum mean discrepancy (MMD)
          of source and target features, under Gaussian kernels of several widths, is learnt away with the labels.
Paper     Long, Cao, Wang, Jordan. Learning transferable features with deep adaptation networks. ICML 2015.
          arXiv:1502.02791
Formula   L = L_task(f; source) + lambda(p) MMD^2(f(source), f(target)),
          MMD^2 = mean K_ss + mean K_tt - 2 mean K_st, where unbiased K_ss and K_tt without their diagonals;
          k(x, y) = sum_c exp(-||x - y||^2 / (c m)), m the median squared distance of all features of the step;
          lambda(p) = weight (2 / (1 + exp(-gamma p)) - 1) for progress p in [0, 1]
Streams   source: images and targets.   target: images only; targets are never read. A step has as many cases as a
          supervised one, half of them of the source; an epoch is a pass over either stream by itself.
Defaults  weight = 0.1 (ours).  gamma = 10 (ours; 0 for a constant weight).  ramp = 1 (ours). factors = 1/4, 1/2, 1,
          2, 4 (ours).  unbiased = true (paper).  level = none (ours): "pooled" for whole images, "deepest" in a
          segmentation.  positions = 64 (ours).  labelled_batch = 0 (ours), half of the budget's batch.
          unlabelled_batch = 0 (ours), the other half.  joint_norm = false (ours). label_smoothing = 0 (ours).
          class_weights = none (ours).  segmentation = none (ours): SegmentationLoss().
Differs   1. One level is compared, the paper sums all task-specific layers.
          2. Kernels have equal weights; the paper selects them.
          3. All pairs are taken; the paper's unbiased estimate has linear cost.
          4. Segmentation: the rows are drawn positions of the level.
Checked   tests/reference/test_dan.py: worked values of both estimates; scikit-learn's kernels; 0 for equal samples
          and, unbiased, on average for equal laws; weight 0 is source-only training bit for bit; trained, MMD falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from allograft.contracts import Criterion, Loss, Method
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.functional.mmd import FACTORS, multi_kernel_mmd
from allograft.nets.network import Network, Output
from allograft.objectives.aligned_features import Aligning, Eye, rows
from allograft.objectives.two_domains import TwoDomainCriterion

__all__ = ["DAN"]


class DAN(Aligning, Method):
    """Align source and target features by their maximum mean discrepancy.

    Every kind of task, in 2-D and 3-D.

    Args:
        factors: bandwidths of the kernels in units of the median squared distance, > 0, at least one.
        unbiased: leave out each row's distance from itself, which in small batches pulls all features together; needs
            two rows of each domain, and may fall below 0.
    """

    name: ClassVar[str] = "dan"
    paper: ClassVar[Reference] = Reference(
        title="Learning Transferable Features with Deep Adaptation Networks",
        authors=("Long", "Cao", "Wang", "Jordan"),
        year=2015,
        venue="ICML",
        arxiv="1502.02791",
    )

    weight: float = Field(default=0.1, ge=0)
    factors: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=FACTORS, min_length=1)
    unbiased: bool = True

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the settings do not fit task or network.
        """
        return _DAN(self, task, self.eye(nets["net"], task))


class _DAN(TwoDomainCriterion):
    """The MMD of the level's rows."""

    def __init__(self, spec: DAN, task: Task, eye: Eye) -> None:
        super().__init__(spec, spec.plain(task))
        self.eye, self.kernels = eye, spec

    def term(self, net: Network, outs: tuple[Output, Output], weight: float) -> Loss:
        """Return the weighted MMD^2."""
        source, target = (rows(self.eye(out), self.kernels.positions) for out in outs)
        found = multi_kernel_mmd(source, target, factors=self.kernels.factors, unbiased=self.kernels.unbiased)
        return Loss(weight * found, {"mmd": found.detach()})
