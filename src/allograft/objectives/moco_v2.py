"""MoCo v2: a view is known again among the views of thousands of earlier images, kept in a queue.

Idea      Contrast needs many negatives. A queue of what a slow copy of the encoder said about earlier batches holds
          more than any batch, and the copy's slowness keeps them comparable.
Paper     Chen, Fan, Girshick, He. Improved baselines with momentum contrastive learning. 2020.  arXiv:2003.04297
Formula   q = normalised g(f(view 1)),  k = normalised g'(f'(view 2)) without gradient,  n_j the queue's keys,
          L = mean_i -log( exp(q_i . k_i / T) / (exp(q_i . k_i / T) + sum_j exp(q_i . n_j / T)) );
          after each step (f', g') <- m (f', g') + (1 - m) (f, g) and the keys k replace the queue's oldest
Streams   images: two looks at each image; no target.
Defaults  temperature = 0.2 (paper).  momentum = 0.999 (paper, of 200 epochs over a million images: in some hundred
          steps the copy hardly moves, with 0.97 it follows).  queue = 4096 (ours; paper 65536).  parts = 2 (ours; paper
          8 devices with 32 images each).  hidden = 0, the width of the features (paper).  output = 128 (paper).
          patients = apart (ours).
Differs   1. Shuffled batch norm, which keeps a query from knowing its key by the statistics that they share: the paper
          deals a batch out to its devices; here one device passes queries in `parts`, and keys in other parts, drawn
          anew. Parts have two images at least; parts = 1 shuffles nothing.
          2. With patients = apart the queue's keys of an image's own patient, itself in earlier epochs among them,
          are no negatives; "negatives" is the paper's, whose queue is small against its data.
          3. With several processes the queue takes the keys of all; parts are made of each one's own images.
Checked   tests/reference/test_moco_v2.py: the loss equals lightly's with a memory bank, a loop over keys and, with
          equal keys, log(1 + queue); the queue holds the last keys in order and wraps; the copy moves as typed out
          and gets no gradient; patients apart leave their keys out; parts have statistics of their own.
          tests/reference/test_looks_of_all_processes.py: two processes learn what one does.
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
from allograft.functional.contrastive import queue_nce
from allograft.nets.network import Network
from allograft.nets.projector import projector
from allograft.objectives.followed import FollowedCriterion
from allograft.objectives.pretext import IMAGES
from allograft.objectives.two_views import NOBODY, TELL_APART, TwoViews, looks, patient_codes, require_two_patients

__all__ = ["MoCoV2"]


class MoCoV2(TwoViews, Method):
    """Minimise the contrastive loss of a view against a queue.

    Args:
        temperature: T of the softmax, > 0.
        momentum: share of itself that the key encoder keeps in a step, in [0, 1).
        queue: keys that are kept.
        parts: of a batch that normalise by themselves, queries' and keys' drawn apart; 1 for none.
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
    parts: int = Field(default=2, ge=1)
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
        self.register_buffer("owners", torch.full((spec.queue,), NOBODY))  # nobody's are the random keys at first
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss; parts: how often the own key is nearer than all of the queue, and what chance gives."""
        given = batch[IMAGES]
        query, key = self._looked(nets["net"], *looks(given))
        owners, barred = patient_codes(given, query.device), None
        if self.spec.patients == "apart" and given.groups:
            barred = owners[:, None] == self.owners
        queue = self.queue.clone()
        loss = queue_nce(query, key, queue, self.spec.temperature, barred)
        with torch.no_grad():
            others = query @ queue.T
            others = others if barred is None else others.masked_fill(barred, -2)
            right = (query * key).sum(1) > others.amax(1)
        if self.training:
            keys, whose = self.whole(key, owners)
            if barred is not None and at.step == 0:
                require_two_patients(whose, otherwise=TELL_APART)
            self._keep(keys, whose)
        chance = torch.tensor(1 / (1 + len(queue)))
        return Loss(loss, {"accuracy": right.float().mean(), "chance": chance})

    def after_step(self, nets: Mapping[str, Network], at: Progress) -> None:
        """Move the key encoder."""
        self.follow(nets, self.spec.momentum)

    def _looked(self, net: Network, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys (B, D) of length 1; in training each part of a batch has its own statistics."""
        parts = max(1, min(self.spec.parts, len(one) // 2)) if self.training else 1
        if parts == 1:
            found = self.embed(net, one), self.targets(net, two)[0]
        else:
            order = torch.randperm(len(two), device=two.device)
            queries = torch.cat([self.embed(net, part) for part in one.tensor_split(parts)])
            keys = torch.cat(self.targets(net, *two[order].tensor_split(parts)))
            found = queries, keys[order.argsort()]
        query, key = (F.normalize(each.float(), dim=1) for each in found)
        return query, key

    def _keep(self, keys: Tensor, owners: Tensor) -> None:
        """Put keys in place of the oldest; of more than fit the last stay."""
        size = len(self.queue)
        places = (self.place + torch.arange(len(keys), device=keys.device)) % size
        self.queue[places[-size:]] = keys[-size:]
        self.owners[places[-size:]] = owners[-size:]
        self.place.copy_((self.place + len(keys)) % size)
