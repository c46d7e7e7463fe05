"""Tent: lower the entropy of the answers on target images by scales and shifts of normalisation layers alone.

Idea      A network is surer where it is right. Where images have changed, rescaling and shifting its features until its
          answers are sure again repairs much, and so few numbers can forget little of what it knows.
Paper     Wang, Shelhamer, Liu, Olshausen, Darrell. Tent: fully test-time adaptation by entropy minimization. ICLR 2021.
          arXiv:2006.10726
Formula   L = mean over cases and elements of -sum_c p_c ln p_c,  p = softmax(f(x)) with the statistics of the batch
          (binary and multi-label: of yes and no);  gamma, beta <- Adam
Streams   target: images; targets are never read.
Defaults  role = "target" (ours).  lr = 1e-3 (paper), Adam's, constant; the recipe's does not act here.
Differs   1. Not at test time: on the target's training images, because the lab never sees test cases. The procedure
          "tent" then measures running statistics, which test cases are normalised by.
          2. Every kind of normalisation counts; batch norm alone has statistics of the batch.
          3. Elements of masks and labels of multi-label tasks count alike.
Checked   tests/reference/test_tent.py: SciPy's entropy; sure answers cost 0, even ones ln C; a step moves scales and
          shifts and no other parameter; trained, answers get surer and, under a change of contrast, truer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import nn

from allograft.contracts import Criterion, Loss, Method, Optim, Player, Progress, StreamSpec
from allograft.core.errors import ConfigError
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.consistency import entropy_of_logs, log_shares
from allograft.nets.network import Network
from allograft.weights.kinds import is_norm

__all__ = ["LACKING", "Tent"]

LACKING = (
    "tent: the network has no normalisation layer with scale and shift, so nothing would learn. Take an encoder that "
    "has (resnet18, densenet121), or another method."
)


class Tent(Method):
    """Minimise the entropy of answers; the network must know the task already, see the procedure "tent".

    Classification (binary, multi-class, multi-label) and segmentation.

    Args:
        role: cohort of the images.
        lr: learning rate of scales and shifts, > 0.
    """

    name: ClassVar[str] = "tent"
    paper: ClassVar[Reference] = Reference(
        title="Tent: Fully Test-Time Adaptation by Entropy Minimization",
        authors=("Wang", "Shelhamer", "Liu", "Olshausen", "Darrell"),
        year=2021,
        venue="ICLR",
        arxiv="2006.10726",
    )

    role: str = "target"
    lr: float = Field(default=1e-3, gt=0)

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return the one stream of images; nobody looks at their targets."""
        return {"target": StreamSpec(self.role, labelled=False)}

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; it owns no tensors.

        Raises:
            ConfigError: the task has no classes, or the network no normalisation layer with scale and shift.
        """
        if task.kind not in {"binary", "multiclass", "multilabel", "segmentation"}:
            msg = f"tent: a {task.kind} task has no classes to be sure of. Take another method."
            raise ConfigError(msg)
        if not _affine(nets["net"]):
            raise ConfigError(LACKING)
        return _Tent(self, task)


class _Tent(Criterion):
    """One player: scales and shifts."""

    def __init__(self, spec: Tent, task: Task) -> None:
        super().__init__()
        self.lr, self.task = spec.lr, task

    def players(self, nets: Mapping[str, Network]) -> tuple[Player, ...]:
        """Return scales and shifts of every normalisation layer, with their own Adam."""
        optim = Optim(name="adam", lr=self.lr, weight_decay=0, schedule="constant", warmup=0)
        return (Player("all", _affine(nets["net"]), optim),)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the mean entropy in nats, in [0, ln C]."""
        logits = nets["net"](batch["target"].image).logits[self.task.head]
        unsure = entropy_of_logs(log_shares(logits, self.task.kind)).mean()
        return Loss(unsure, {"entropy": unsure.detach()})


def _affine(net: Network) -> list[nn.Parameter]:
    """Return scales and shifts of the normalisation layers of a network."""
    return [p for module in net.modules() if is_norm(module) for p in module.parameters(recurse=False)]
