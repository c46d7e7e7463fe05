"""Multi-head co-training: one encoder, one head for each data set, each case feeding only its own head.

Idea      Many small data sets have different labels. A shared encoder sees all of them; a head for each
          data set reads its own labels, so that what one set leaves unlabelled is never taken for background.
Paper     Chen, Ma, Zheng. Med3D: transfer learning for 3D medical image analysis. 2019.  arXiv:1904.00625
Formula   L = mean_j L_j(h_j(f(x_j)), y_j),  f the encoder, h_j the head and L_j the plain loss of data set j
Streams   one for each data set, named like it: images and targets.
Defaults  heads = none, they must be named (ours).  batch = 0, the budget's cases of every data set (ours).
Differs   1. Every step reads all data sets, weighted alike; the paper draws cases from the pooled sets.
          2. Heads follow the network's own decoder, shared by all masks; the paper's branches are 1x1x1
          convolutions on the encoder, which the decoder "medicalnet" comes close to.
Checked   tests/reference/test_multi_head.py: the loss is the mean of the single losses; a step on one set gives
          other heads no gradient and the encoder some; an encoder trained on two sets solves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field

from allograft.contracts import Criterion, Loss, Method, Progress, StreamSpec, TaskLoss
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.nets.network import Network
from allograft.objectives.task_loss import task_loss

__all__ = ["MultiHead"]


class MultiHead(Method):
    """Minimise the mean of the plain losses of several data sets, each through its own head.

    Args:
        heads: auxiliary data sets of the study, at least one; each has a head of its name.
        batch: cases of each data set in a step, 0 for the budget's.
    """

    name: ClassVar[str] = "multi_head"
    paper: ClassVar[Reference] = Reference(
        title="Med3D: Transfer Learning for 3D Medical Image Analysis",
        authors=("Chen", "Ma", "Zheng"),
        year=2019,
        arxiv="1904.00625",
    )

    heads: tuple[str, ...] = ()
    batch: int = Field(default=0, ge=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return one stream of labelled cases for each data set."""
        return {name: StreamSpec(name, batch=self.batch) for name in self.heads}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: no head is named, or the network has none of that name.
        """
        known = nets["net"].tasks
        missing = [name for name in self.heads if name not in known]
        if missing or not self.heads:
            msg = (
                f"multi_head: the network has the heads {', '.join(sorted(known)) or 'none'}, the objective names "
                f"{', '.join(self.heads) or 'none'}. Name auxiliary data sets of the study in `heads`."
            )
            raise ConfigError(msg)
        return _MultiHead({name: task_loss(known[name]) for name in self.heads})


class _MultiHead(Criterion):
    """The mean of the data sets' losses."""

    def __init__(self, losses: Mapping[str, TaskLoss]) -> None:
        super().__init__()
        self.losses = dict(losses)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the mean over data sets; of each only its own head's logits reach the loss."""
        net = nets["net"]
        found = {name: loss(net(batch[name].image), batch[name]) for name, loss in self.losses.items()}
        total = torch.stack([one.total for one in found.values()]).mean()
        return Loss(total, {name: one.total.detach() for name, one in found.items()})
