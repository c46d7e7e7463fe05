"""DANN: domain-adversarial training of neural networks.

Idea      A critic tries to tell source from target features; through a reversed gradient the encoder learns features
          on which it cannot, and on which the source's labels therefore hold for the target too.
Paper     Ganin et al. Domain-adversarial training of neural networks. JMLR 17(59), 2016.  arXiv:1505.07818
Formula   min_f max_D  L_task(f; source) - lambda L_domain(D o f; source, target),  L_domain the mean over both domains
          of their cross-entropies, D learning at the full rate;  lambda(p) = weight (2 / (1 + exp(-gamma p)) - 1) for
          progress p in [0, 1]. The paper's learning rate lr / (1 + 10 p)^0.75 is optim.schedule: inverse.
Streams   source: images and targets.   target: images only; targets are never read. A step has as many cases as a
          supervised one, half of them of the source; an epoch is a pass over either stream by itself.
Defaults  weight = 1 (paper).  gamma = 10 (paper).  ramp = 1 (paper).  hidden = 1024 (ours).  level = none (ours):
          "pooled" for whole images, "deepest" in a segmentation.  positions = 64 (ours).  labelled_batch = 0 (ours),
          half of the budget's batch.  unlabelled_batch = 0 (ours), the other half.  joint_norm = false (ours).
          label_smoothing = 0 (ours).  class_weights = none (ours).  segmentation = none (ours): SegmentationLoss().
Differs   1. The critic moves with the recipe's optimiser and rate, by one logit of two hidden layers.
          2. Segmentation: the critic judges positions of the encoder's deepest level one by one, as 1 x 1
          convolutions would (level: decoded takes the decoder's features, level: pooled a case as a whole).
          3. With learn: both, labelled target cases are in the stream of labelled ones and count as source there.
Checked   tests/reference/test_dann.py: min-max written out by hand; lambda's and the rate's worked values; the
          encoder's adversarial gradient is -lambda times the one without reversal, in 2-D and 3-D, of images and
          masks; weight 0 is source-only training bit for bit; trained, the critic is right on separable features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from allograft.contracts import Criterion, Loss, Method
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.functional.domain_loss import told_apart
from allograft.functional.grl import reverse_gradient
from allograft.nets.discriminator import RowCritic
from allograft.nets.network import Network, Output
from allograft.objectives.aligned_features import Aligning, Eye, rows
from allograft.objectives.two_domains import TwoDomainCriterion

__all__ = ["DANN"]


class DANN(Aligning, Method):
    """Align source and target features by deceiving a critic of domains.

    Every kind of task, in 2-D and 3-D.

    Args:
        hidden: width of the critic's two hidden layers, >= 1.
    """

    name: ClassVar[str] = "dann"
    paper: ClassVar[Reference] = Reference(
        title="Domain-Adversarial Training of Neural Networks",
        authors=("Ganin", "Ustinova", "Ajakan", "Germain", "Larochelle", "Laviolette", "Marchand", "Lempitsky"),
        year=2016,
        venue="JMLR",
        arxiv="1505.07818",
    )

    hidden: int = Field(default=1024, ge=1)

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns the critic.

        Raises:
            ConfigError: the settings do not fit task or network.
        """
        return _DANN(self, task, self.eye(nets["net"], task))


class _DANN(TwoDomainCriterion):
    """The critic's loss, its gradient reversed where it enters the network."""

    def __init__(self, spec: DANN, task: Task, eye: Eye) -> None:
        super().__init__(spec, spec.plain(task))
        self.eye, self.most = eye, spec.positions
        self.critic = RowCritic(eye.features, spec.hidden)

    def term(self, net: Network, outs: tuple[Output, Output], weight: float) -> Loss:
        """Return how badly the critic tells the domains apart: it descends this, the network ascends it."""
        seen = [reverse_gradient(rows(self.eye(out), self.most), weight) for out in outs]
        told = told_apart(self.critic(seen[0]), self.critic(seen[1]))
        return Loss(told.loss, {"domain": told.loss.detach(), "domain_accuracy": told.accuracy})
