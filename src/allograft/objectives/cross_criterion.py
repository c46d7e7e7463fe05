"""Cross supervision: two networks, each learning unlabelled cases from the other's decisions."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from allograft.contracts import Criterion, Loss, Progress, TaskLoss
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.pseudo_targets import decided
from allograft.objectives.two_streams import TwoStreams, passes

__all__ = ["CrossCriterion"]


class CrossCriterion(Criterion):
    """Σ_k L_task(net_k) + w Σ_k cross(net_k, decisions of the other); the same under swapping the networks.

    Args:
        name: of the objective.
        spec: weight, ramp and task loss.
        task: what is predicted.
        cross: the loss on the other's decisions.
    """

    def __init__(self, name: str, spec: TwoStreams, task: Task, cross: TaskLoss) -> None:
        super().__init__()
        self.name = name
        self.spec, self.task, self.plain, self.cross = spec, task, spec.supervised(task), cross

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss of both networks; with weight 0 nobody looks at the unlabelled cases."""
        if len(nets) != 2:
            msg = f'objective "{self.name}" trains two networks, got {len(nets)} ({", ".join(nets)}).'
            raise ConfigError(msg)
        seen, more = batch["train"], batch["unlabelled"]
        joint, with_more = self.spec.joint_norm, self.spec.weight > 0
        images = [seen.image, more.image] if with_more else [seen.image]
        outs = [passes(net, images, joint=joint) for net in nets.values()]
        found = [self.plain(own[0], seen) for own in outs]
        total = torch.stack([loss.total for loss in found]).sum()
        parts = {"task": found[0].total.detach(), "task_other": found[1].total.detach()}
        if not with_more:
            return Loss(total, parts)
        (_, one), (_, two) = outs
        says_one, says_two = decided(one, more, self.task), decided(two, more, self.task)
        cross = self.cross(one, says_two).total + self.cross(two, says_one).total
        same = says_one.targets[self.task.head] == says_two.targets[self.task.head]
        parts |= {"cross": cross.detach(), "agreement": same.float().mean()}
        weight = self.spec.weight_at(at)
        return Loss(total + weight * cross, {**parts, "unsupervised_weight": torch.tensor(weight)})
