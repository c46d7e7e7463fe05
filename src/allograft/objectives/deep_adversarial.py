"""Deep adversarial: a critic tells annotated from unannotated cases by what the network says of them.

Idea      On images that it was not trained on a network makes worse masks. A discriminator that sees mask and image
          learns to tell; the network learns to deceive it, so that its masks of unlabelled images become as good.
Paper     Zhang, Yang, Chen, Fredericksen, Hughes, Chen. Deep adversarial networks for biomedical image segmentation
          utilizing unannotated images. MICCAI 2017.  doi:10.1007/978-3-319-66179-7_47
Formula   net: L = L_task(f; labelled) + w(t) CE(D(f(u), u), 1);   D: L = CE(D(f(x), x), 1) + CE(D(f(u), u), 0), a mean
          over cases; x labelled, u unlabelled, f(x) probabilities; w(t) = weight exp(-5 (1 - t / ramp)^2)
Streams   train: images and targets.   unlabelled: images only; targets are never read. A step has as many
          cases as a supervised one, half of them labelled; an epoch is a pass over either stream by itself.
Defaults  weight = 0.1 (ours, that of SSL4MIS).  ramp = 1 (ours, that of SSL4MIS).  width = 64 (ours, that of SSL4MIS).
          lr = 1e-4, Adam's (ours, that of SSL4MIS).  labelled_batch = 0 (ours), half of the budget's batch.
          unlabelled_batch = 0 (ours), the other half. joint_norm = false (ours).  label_smoothing = 0 (ours).
          class_weights = none (ours).  segmentation = none, Dice + cross-entropy (ours, as SSL4MIS).
Differs   1. As in SSL4MIS, one step of each in turn, and the network is in evaluation mode, without gradient, while
          the discriminator learns: its norm statistics see a batch once.
          2. The discriminator has kernels of 3 and a mean over positions, so that any size and dimension goes
          (SSL4MIS: kernels of 4, a fixed window).
          3. Classification: it sees the probabilities beside the pooled features (without gradient) in place of an
          image.
          4. Adam's first moment decays by 0.9, the second by 0.999 (SSL4MIS: 0.99).
Checked   tests/reference/test_deep_adversarial.py: both losses typed out; who moves in whose turn; the network's
          adversarial gradient is there and is none at weight 0, which is supervised training bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Method, Optim, Player, Progress, StreamSpec
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.consistency import shares
from allograft.nets.discriminator import Discriminator
from allograft.nets.modes import evaluating
from allograft.nets.network import Network, Output
from allograft.objectives.two_streams import Images, Term, TwoStreamCriterion, TwoStreams, passes

__all__ = ["DeepAdversarial"]


class DeepAdversarial(TwoStreams, Method):
    """Make predictions of unlabelled cases look like those of labelled ones.

    Args:
        width: channels of the discriminator's first layer, >= 1.
        lr: the discriminator's learning rate, > 0; the recipe's is the network's.
        weight: largest weight of the adversarial term, >= 0.
        ramp: share of the steps over which it grows, in [0, 1].
        labelled_batch: labelled cases in a step, 0 for half of the budget's batch.
        unlabelled_batch: unlabelled cases in a step, 0 for half of the budget's batch.
        joint_norm: pass both in one batch, sharing normalisation statistics.
        label_smoothing: of the task's loss, in [0, 1).
        class_weights: of the task's loss, one per class, > 0; empty for 1.
        segmentation: settings of the task's loss on labelled cases of a segmentation.
    """

    name: ClassVar[str] = "deep_adversarial"
    paper: ClassVar[Reference] = Reference(
        title="Deep Adversarial Networks for Biomedical Image Segmentation Utilizing Unannotated Images",
        authors=("Zhang", "Yang", "Chen", "Fredericksen", "Hughes", "Chen"),
        year=2017,
        venue="MICCAI",
        doi="10.1007/978-3-319-66179-7_47",
    )

    weight: float = Field(default=0.1, ge=0)
    width: int = Field(default=64, ge=1)
    lr: float = Field(default=1e-4, gt=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return labelled cases and, without targets, unlabelled ones."""
        return self.two_streams()

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion, which owns the discriminator.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        return _DeepAdversarial(self, task, nets["net"])


class _DeepAdversarial(TwoStreamCriterion):
    """Two players: the network and the discriminator."""

    def __init__(self, spec: DeepAdversarial, task: Task, net: Network) -> None:
        super().__init__(spec, task)
        self.lr, self.dense = spec.lr, task.kind == "segmentation"
        classes = 2 * task.outputs if task.kind in {"binary", "multilabel"} else task.outputs
        sees = net.shape.in_channels if self.dense else net.shape.channels[-1]
        self.discriminator = Discriminator(net.shape.dims if self.dense else 0, (classes, sees), spec.width)

    def players(self, nets: Mapping[str, Network]) -> tuple[Player, ...]:
        """Return the network with the recipe's optimiser, and the discriminator with its own."""
        optim = Optim(name="adam", lr=self.lr, weight_decay=0, schedule="constant", warmup=0)
        own = tuple(self.discriminator.parameters())
        return Player("net", tuple(nets["net"].parameters())), Player("discriminator", own, optim)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the player's loss."""
        if player == "discriminator":
            return self._discriminate(nets["net"], batch)
        return super().forward(nets, batch, at, player)

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the network's loss and how badly it deceives; the discriminator drops nothing out meanwhile."""
        out, more = passes(net, [train.image, unlabelled.image], joint=self.spec.joint_norm)
        self.discriminator.eval()
        believed = self._says(more, unlabelled.image)
        self.discriminator.train()
        deceived = nn.functional.softplus(-believed).mean()
        return Term(self.plain(out, train), deceived, {"believed": (believed > 0).float().mean()})

    def _discriminate(self, net: Network, batch: Mapping[str, Batch]) -> Loss:
        """Return the discriminator's loss on what the network says, looked at without being changed."""
        images = [batch["train"].image, batch["unlabelled"].image]
        with evaluating(net):
            outs = [net(image) for image in images]
        known, unknown = (self._says(out, image) for out, image in zip(outs, images, strict=True))
        terms = torch.cat([nn.functional.softplus(-known), nn.functional.softplus(unknown)])
        right = torch.cat([known > 0, unknown < 0]).float().mean()
        return Loss(terms.mean(), {"accuracy": right})

    def _says(self, out: Output, image: Images) -> Tensor:
        """Return (B,) logits of being labelled."""
        found = shares(self.logits(out), self.task.kind)
        if not self.dense:
            return cast("Tensor", self.discriminator(found.flatten(1), out.pooled.detach()))
        assert isinstance(image, Tensor), "features are cached of whole images for classification only"
        return cast("Tensor", self.discriminator(found, image))
