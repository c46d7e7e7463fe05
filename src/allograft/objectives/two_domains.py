"""Two domains: what objectives share that learn labels from a source and draw an unlabelled target towards it.

What `joint_norm` means for layers that normalise over a batch. false: the source passes first, the target after it;
while training each is normalised by the moments of its own batch, which takes away what differs in mean and scale,
and running statistics are moved by both in turn, so that predictions use a mixture of the two. true: both pass in one
batch and are normalised by common moments, in training as in prediction, so that what differs between domains stays
visible to the term that removes it. Where the tuning freezes statistics, and for norms of the single case, both are
the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field

from allograft.contracts import Criterion, Loss, Progress, StreamSpec, TaskLoss
from allograft.data.case import Batch
from allograft.functional.ramps import ganin_ramp
from allograft.nets.network import Network, Output
from allograft.objectives.two_streams import TwoStreams, passes

__all__ = ["TwoDomainCriterion", "TwoDomains"]


class TwoDomains(TwoStreams):
    """Settings of an objective with a labelled source and an unlabelled target.

    Args:
        weight: largest weight of the term between domains, >= 0.
        gamma: steepness with which it grows, 2 / (1 + exp(-gamma x)) - 1; 0 for the whole weight from the first step.
        ramp: share of the training over which x goes from 0 to 1, in [0, 1]; 0 for none.
        labelled_batch: source cases in a step, 0 for half of the budget's batch.
        unlabelled_batch: target cases in a step, 0 for half of the budget's batch.
        joint_norm: pass both domains in one batch; see the module.
    """

    gamma: float = Field(default=10.0, ge=0)

    def domains(self, role: str = "target", *, pixels: bool = False) -> Mapping[str, StreamSpec]:
        """Return the streams "source", of labelled cases, and "target", without targets."""
        source = StreamSpec("train", batch=self.labelled_batch, share=0.5, pixels=pixels)
        target = StreamSpec(role, batch=self.unlabelled_batch, share=0.5, labelled=False, pixels=pixels)
        return {"source": source, "target": target}

    def weight_at(self, at: Progress) -> float:
        """Return the weight of the term between domains."""
        if not self.gamma or not self.ramp:
            return self.weight
        return self.weight * ganin_ramp(min(1.0, at.fraction / self.ramp), self.gamma)


class TwoDomainCriterion(Criterion):
    """The task's loss on "source" plus the term between domains; with weight 0 only the first is computed."""

    def __init__(self, spec: TwoDomains, plain: TaskLoss) -> None:
        super().__init__()
        self.spec, self.plain = spec, plain

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the sum; a weight of 0 takes no pass and no random number besides those of source-only training."""
        net, source, target = nets["net"], batch["source"], batch["target"]
        if not self.spec.weight:
            return self.plain(net(source.image), source)
        on_source, on_target = passes(net, [source.image, target.image], joint=self.spec.joint_norm)
        weight = self.spec.weight_at(at)
        found = self.term(net, (on_source, on_target), weight)
        task = self.plain(on_source, source)
        parts = {**task.parts, **found.parts, "domain_weight": torch.tensor(weight)}
        return Loss(task.total + found.total, parts)

    def term(self, net: Network, outs: tuple[Output, Output], weight: float) -> Loss:
        """Return what is added for the outputs of source and target, its weight included."""
        raise NotImplementedError
