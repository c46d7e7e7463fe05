"""Deep CORAL: features whose covariances agree between domains.

Idea      Features that vary together in the source should vary together in the target. The distance of the two
          covariance matrices is learnt away with the labels.
Paper     Sun, Saenko. Deep CORAL: correlation alignment for deep domain adaptation. ECCV Workshops 2016.
          arXiv:1607.01719
Formula   L = L_task(f; source) + lambda(p) ||C_s - C_t||_F^2 / (4 d^2),  C unbiased covariances of d features;
          lambda(p) = weight (2 / (1 + exp(-gamma p)) - 1) for progress p in [0, 1]
Streams   source: images and targets.   target: images only; targets are never read. A step has as many cases as a
          supervised one, half of them of the source; an epoch is a pass over either stream by itself.
Defaults  weight = 100 (ours; the paper takes what makes both losses alike in the end).  gamma = 10 (ours; 0 for a
          constant weight).  ramp = 1 (ours).  level = none (ours): "pooled" for whole images, "deepest" in a
          segmentation; the paper takes the last layer, level: logits.  positions = 64 (ours).  labelled_batch = 0
          (ours), half of the budget's batch.  unlabelled_batch = 0 (ours), the other half.  joint_norm = false
          (ours). label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none (ours):
          SegmentationLoss().
Differs   1. Compares the features below the head unless level says otherwise: of two classes there is one covariance.
          2. Segmentation: the rows are drawn positions of the level.
          3. Means may differ, as in the paper: where norm layers do not take them away, "dan" does.
Checked   tests/reference/test_deep_coral.py: the worked value; NumPy's covariances; blind to means, 0 for equal
          samples; the gradient typed out; weight 0 is source-only training bit for bit; trained, the distance falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from allograft.contracts import Criterion, Loss, Method
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.functional.coral import coral
from allograft.nets.network import Network, Output
from allograft.objectives.aligned_features import Aligning, Eye, rows
from allograft.objectives.two_domains import TwoDomainCriterion

__all__ = ["DeepCORAL"]


class DeepCORAL(Aligning, Method):
    """Align source and target features by their covariances.

    Every kind of task, in 2-D and 3-D.
    """

    name: ClassVar[str] = "deep_coral"
    paper: ClassVar[Reference] = Reference(
        title="Deep CORAL: Correlation Alignment for Deep Domain Adaptation",
        authors=("Sun", "Saenko"),
        year=2016,
        venue="ECCV Workshops",
        arxiv="1607.01719",
    )

    weight: float = Field(default=100.0, ge=0)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the settings do not fit task or network.
        """
        return _DeepCORAL(self, task, self.eye(nets["net"], task))


class _DeepCORAL(TwoDomainCriterion):
    """The distance of the covariances of the level's rows."""

    def __init__(self, spec: DeepCORAL, task: Task, eye: Eye) -> None:
        super().__init__(spec, spec.plain(task))
        self.eye, self.most = eye, spec.positions

    def term(self, net: Network, outs: tuple[Output, Output], weight: float) -> Loss:
        """Return the weighted distance."""
        source, target = (rows(self.eye(out), self.most) for out in outs)
        found = coral(source, target)
        return Loss(weight * found, {"coral": found.detach()})
