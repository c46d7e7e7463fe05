"""MoCo v2: a view is known again among the views of thousands of earlier images, kept in a queue.

Idea      Contrast needs many negatives. A queue of what a slow copy of the encoder said about earlier batches holds
          more than any batch, and the copy's slowness keeps them comparable.
Paper     Chen, Fan, Girshick, He. Improved baselines with momentum contrastive learning. 2020.  arXiv:2003.04297
Formula   q = normalised g(f(view 1)),  k = normalised g'(f'(view 2)) without gradient,  n_j the queue's keys,
          L = mean_i -log( exp(q_i . k_i / T) / (exp(q_i . k_i / T) + sum_j exp(q_i . n_j / T)) );
          after each step (f', g') <- m (f', g') + (1 - m) (f, g) and the keys k replace the queue's oldest
Streams   images: two looks at each image; no target.
Defaults  temperature = 0.2 (paper).  momentum = 0.999 (paper, of 200 epochs over a million images: in some hundred
          steps the copy hardly moves, with 0.97 it follows).  queue = 4096 (ours; paper 65536).  hidden = 0, the width
          of the features (paper).  output = 128 (paper).  patients = apart (ours).
Differs   1. No shuffled batch norm: that hides, between several devices, which keys share a batch with their queries.
          On one device it has nothing to shuffle, and here query and key are normalised in batches of their own.
          2. With patients = apart the queue's keys of an image's own patient, itself in earlier epochs among them,
          are no negatives; "negatives" is the paper's, whose queue is small against its data.
          3. With several processes the queue holds the keys of the first.
Checked   tests/reference/test_moco_v2.py: the loss equals lightly's with a memory bank, a loop over keys and, with
          equal keys, log(1 + queue); the queue holds the last keys in order and wraps; the copy moves as typed out
          and gets no gradient; patients apart leave their keys out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from allograft.contracts import Criterion, Loss, Method, Progress
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.contrastive import group_codes, queue_nce
from allograft.nets.network import Network
from allograft.nets.projector import projector
from allograft.objectives.followed import FollowedCriterion
from allograft.objectives.pretext import IMAGES
from allograft.objectives.two_views import TwoViews, looks

__all__ = ["MoCoV2"]

NOBODY = -1
"""Owner of the random keys that a queue begins with."""


class MoCoV2(TwoViews, Method):
    """Minimise the contrastive loss of a view against a queue.

    Args:
        temperature: T of the softmax, > 0.
        momentum: share of itself that the key encoder keeps in a step, in [0, 1).
        queue: keys that are kept.
        patients: "apart": keys of an image's patient are no negatives of it; "negatives": all are.
    """

    name: ClassVar[str] = "moco_v2"
    paper: ClassVar[Reference] = Reference(
        title="Improved Baselines with Momentum Contrastive Learning",
        authors=("Chen", "Fan", "Girshick", "He"),
        year=2020,
        arxiv="2003.04297",
    )

    temperature: float = Field(default=0.2, gt=0)
    momentum: float = Field(default=0.999, ge=0, lt=1)
    queue: int = Field(default=4096, ge=1)
    patients: Literal["apart", "negatives"] = "apart"

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the criterion, which owns the key encoder and the queue."""
        return _MoCoCriterion(self, nets["net"])


class _MoCoCriterion(FollowedCriterion):
    """The queue lies in buffers: keys (Q, D) of length 1, whose they are (Q,), and where the next ones go."""

    queue: Tensor
    owners: Tensor
    place: Tensor

    def __init__(self, spec: MoCoV2, net: Network) -> None:
        width = net.shape.channels[-1]
        super().__init__(net, projector(width, spec.hidden or width, spec.output, norm=False))
        self.spec = spec
        self.register_buffer("queue", F.normalize(torch.randn(spec.queue, spec.output), dim=1))
        self.register_buffer("owners", torch.full((spec.queue,), NOBODY))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; parts: how often the own key is nearer than all of the queue, and what chance gives."""
        given = batch[IMAGES]
        one, two = looks(given)
        query = F.normalize(self.embed(nets["net"], one).float(), dim=1)
        key = F.normalize(self.targets(nets["net"], two)[0].float(), dim=1)
        queue, owners = self.queue.clone(), self._owners(given, query)
        barred = owners[:, None] == self.owners if self.spec.patients == "apart" and given.groups else None
        loss = queue_nce(query, key, queue, self.spec.temperature, barred)
        with torch.no_grad():
            others = query @ queue.T
            others = others if barred is None else others.masked_fill(barred, -2)
            right = (query * key).sum(1) > others.amax(1)
        if self.training:
            self._keep(key, owners)
        chance = torch.tensor(1 / (1 + len(queue)))
        return Loss(loss, {"accuracy": right.float().mean(), "chance": chance})

    def after_step(self, nets: Mapping[str, Network], at: Progress) -> None:
        """Move the key encoder."""
        self.follow(nets, self.spec.momentum)

    @staticmethod
    def _owners(batch: Batch, like: Tensor) -> Tensor:
        """Return numbers (B,) of the patients, of nobody where they are not known."""
        if batch.groups:
            return group_codes(batch.groups, like.device)
        return torch.full((len(like),), NOBODY, device=like.device)

    def _keep(self, keys: Tensor, owners: Tensor) -> None:
        """Put keys in place of the oldest; of more than fit the last stay."""
        size = len(self.queue)
        places = (self.place + torch.arange(len(keys), device=keys.device)) % size
        self.queue[places[-size:]] = keys[-size:]
        self.owners[places[-size:]] = owners[-size:]
        self.place.copy_((self.place + len(keys)) % size)
