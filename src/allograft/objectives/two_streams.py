"""Two streams: what objectives share that learn from labelled and from unlabelled cases in every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from allograft.contracts import Criterion, Loss, Progress, StreamSpec, TaskLoss
from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.ramps import sigmoid_ramp
from allograft.nets.network import Network, Output
from allograft.objectives.segmentation_loss import SegmentationLoss
from allograft.objectives.task_loss import task_loss

__all__ = ["Images", "Term", "TwoStreamCriterion", "TwoStreams", "passes", "require_noise"]

Images = Tensor | tuple[Tensor, ...]
"""Images (B, C, *S), or the levels of a frozen encoder."""


class TwoStreams(Config):
    """Settings of an objective with a labelled and an unlabelled stream.

    Args:
        weight: largest weight of the unsupervised term, >= 0.
        ramp: share of the training over which the weight rises to that, in [0, 1]; 0 for no ramp.
        labelled_batch: labelled cases in a step, 0 for half of the budget's batch.
        unlabelled_batch: unlabelled cases in a step, 0 for half of the budget's batch.
        joint_norm: pass labelled and unlabelled cases through the network in one batch, so that norm layers
            see both at once; otherwise each goes through on its own, and either moves running statistics.
        label_smoothing: of the supervised half, as in the objective "supervised".
        class_weights: of the supervised half, as in the objective "supervised".
        segmentation: settings of the supervised loss of a segmentation; None takes the usual ones.
    """

    weight: float = Field(default=1.0, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    labelled_batch: int = Field(default=0, ge=0)
    unlabelled_batch: int = Field(default=0, ge=0)
    joint_norm: bool = False
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: tuple[float, ...] = ()
    segmentation: SegmentationLoss | None = None

    def two_streams(
        self, *, views: int = 0, look: Literal["augment", "strong"] = "augment", pixels: bool = False
    ) -> Mapping[str, StreamSpec]:
        """Return the streams "train" and "unlabelled"; views, look and pixels are of the unlabelled one."""
        labelled = StreamSpec("train", batch=self.labelled_batch, share=0.5)
        rest = StreamSpec("unlabelled", batch=self.unlabelled_batch, share=0.5, labelled=False)
        return {"train": labelled, "unlabelled": rest._replace(views=views, look=look, pixels=pixels)}

    def weight_at(self, at: Progress) -> float:
        """Return the weight of the unsupervised term: along exp(-5 (1 - x)^2) while it rises."""
        return self.weight * (sigmoid_ramp(at.fraction / self.ramp) if self.ramp else 1.0)

    def supervised(self, task: Task) -> TaskLoss:
        """Return the loss of the labelled half.

        Raises:
            ConfigError: the task has no classes, or the settings do not fit it.
        """
        if task.kind == "regression":
            msg = (
                "this objective compares or sharpens the probabilities of classes, and a regression has none. "
                "Use the objective supervised, or a classifying or segmenting task."
            )
            raise ConfigError(msg)
        return self.plain(task)

    def plain(self, task: Task) -> TaskLoss:
        """Return the loss of the labelled half of any kind of task.

        Raises:
            ConfigError: the settings do not fit the task.
        """
        return task_loss(
            task,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            segmentation=self.segmentation,
        )


class Term(NamedTuple):
    """What a step found: the loss of the labelled half, the unsupervised term (), and further numbers for the log."""

    task: Loss
    value: Tensor
    parts: Mapping[str, Tensor]


class TwoStreamCriterion(Criterion):
    """The task's loss on "train" plus the weighted term on "unlabelled"; with weight 0 only the first is computed."""

    def __init__(self, spec: TwoStreams, task: Task) -> None:
        super().__init__()
        self.spec, self.task, self.plain = spec, task, spec.supervised(task)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the sum; a weight of 0 takes no pass and no random number besides those of supervised training."""
        net, train = nets["net"], batch["train"]
        if not self.spec.weight:
            return self.plain(net(train.image), train)
        found, weight = self.term(net, train, batch["unlabelled"], at), self.spec.weight_at(at)
        parts = {**found.task.parts, "unsupervised": found.value.detach(), **found.parts}
        parts["unsupervised_weight"] = torch.tensor(weight)
        return Loss(found.task.total + weight * found.value, parts)

    def term(self, net: Network, train: Batch, unlabelled: Batch, at: Progress) -> Term:
        """Return the losses of both halves."""
        raise NotImplementedError

    def logits(self, out: Output) -> Tensor:
        """Return the logits (B, O) or (B, O, *S) of the task's head."""
        return out.logits[self.task.head]


def passes(net: Network, images: Sequence[Images], *, joint: bool) -> list[Output]:
    """Return the network's output for each of several sets of images.

    Args:
        net: the network.
        images: each (B_i, C, *S), or levels.
        joint: pass all in one batch, in this order; otherwise one after the other, the first first.
    """
    if not joint:
        return [net(each) for each in images]
    counts = [len(each if isinstance(each, Tensor) else each[0]) for each in images]
    out, found, begin = net(_together(images)), [], 0
    for count in counts:
        rows = slice(begin, begin + count)
        logits = {name: value[rows] for name, value in out.logits.items()}
        levels, decoded = (tuple(x[rows] for x in given) for given in (out.levels, out.decoded))
        found.append(Output(levels, out.pooled[rows], logits, decoded))
        begin += count
    return found


def _together(images: Sequence[Images]) -> Images:
    plain = [each for each in images if isinstance(each, Tensor)]
    if len(plain) == len(images):
        return torch.cat(plain)
    levels = [each for each in images if not isinstance(each, Tensor)]
    return tuple(torch.cat(level) for level in zip(*levels, strict=True))


def require_noise(net: nn.Module, what: str) -> None:
    """Refuse a network in which nothing is left to chance, where a method compares passes that differ by chance.

    Raises:
        ConfigError: no dropout and no stochastic depth above 0.
    """
    for module in net.modules():
        rates = (getattr(module, name, 0) for name in ("p", "rate", "drop_prob"))
        if "drop" in type(module).__name__.lower() and any(isinstance(r, float) and r > 0 for r in rates):
            return
    msg = (
        f"{what} compares passes of one image that differ by chance, and nothing in this network is left to chance: "
        "all would be equal and the term 0. Set net.dropout (0.1 to 0.5) or net.drop_path."
    )
    raise ConfigError(msg)
