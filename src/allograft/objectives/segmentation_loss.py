"""Segmentation loss: soft Dice and cross-entropy of a class per pixel or voxel.

L = dice · (1 - Σ_c u_c D_c) + cross_entropy · Σ_x w(y_x) v_x l(x) / Σ_x w(y_x) v_x, with D_c the soft
Dice of class c, w class weights, u the same divided by their sum over the classes that Dice counts, v case or
element weights and l the cross-entropy of an element.

The recipe of methods 2.3 (Wacker et al.) is `SegmentationLoss(cross_entropy=0, batch=True,
include_background=True, smooth=1e-15)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from allograft.contracts import Loss, TaskLoss
from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.cross_entropy import smooth, soft_cross_entropy
from allograft.functional.dice import soft_dice
from allograft.nets.network import Output
from allograft.objectives.labelled import Labelled, labelled

__all__ = ["SegmentationLoss"]


class SegmentationLoss(Config):
    """Settings of the plain loss of a segmentation; every default is ours.

    Args:
        dice: weight of the Dice term, >= 0.
        cross_entropy: weight of the cross-entropy, >= 0.
        batch: Dice over all cases of a batch at once: steadier where a class is absent from most
            patches; false gives every case the same say.
        squared: p^2 and t^2 in Dice's denominator.
        smooth: added above and below in Dice, > 0.
        include_background: whether Dice counts class 0 too.
    """

    dice: float = Field(default=1.0, ge=0)
    cross_entropy: float = Field(default=1.0, ge=0)
    batch: bool = True
    squared: bool = False
    smooth: float = Field(default=1e-5, gt=0)
    include_background: bool = False

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.dice and not self.cross_entropy:
            msg = "dice and cross_entropy are both 0: nothing would be learnt"
            raise ValueError(msg)
        return self

    def build(self, task: Task, *, label_smoothing: float = 0.0, class_weights: tuple[float, ...] = ()) -> TaskLoss:
        """Return the loss of a segmentation task.

        Targets are (B, *S) classes, where an element below 0 is absent and reaches no loss, or soft
        (B, L, *S). `Batch.weight` is (B,) or (B, *S). A batch without a labelled case gives 0, with a
        gradient of 0.

        Args:
            task: a segmentation.
            label_smoothing: of the cross-entropy, in [0, 1).
            class_weights: one per class, > 0; empty for 1.

        Raises:
            ConfigError: the task is none, or label smoothing has nothing to act on.
        """
        if task.kind != "segmentation":
            msg = f'task "{task.head}" is {task.kind}; a segmentation loss needs a segmentation task.'
            raise ConfigError(msg)
        if label_smoothing and not self.cross_entropy:
            msg = "label_smoothing acts on the cross-entropy, which has weight 0. Leave one of the two out."
            raise ConfigError(msg)
        weights = torch.tensor(class_weights or (1.0,) * len(task.classes))

        def loss(out: Output, batch: Batch) -> Loss:
            part = labelled(out, batch, task)
            truth = _truth(part)
            logits = part.logits if part.logits.dtype == torch.float64 else part.logits.float()
            logs = logits.log_softmax(dim=1)
            parts = {}
            if self.dice:
                parts["dice"] = self._dice_loss(logs.exp(), truth, weights.to(logs))
            if self.cross_entropy:
                parts["cross_entropy"] = _cross_entropy(logs, truth, weights.to(logs), label_smoothing)
            return self._sum(parts)

        return loss

    def _sum(self, parts: Mapping[str, Tensor]) -> Loss:
        scale = {"dice": self.dice, "cross_entropy": self.cross_entropy}
        total = torch.stack([scale[name] * part for name, part in parts.items()]).sum()
        return Loss(total, {name: part.detach() for name, part in {"task": total, **parts}.items()})

    def _dice_loss(self, p: Tensor, truth: _Truth, class_weights: Tensor) -> Tensor:
        """Return 1 - mean Dice over classes and, unless over the batch, over cases."""
        if not len(p):
            return p.sum()
        weight = truth.both if self.batch else truth.element
        score = soft_dice(p, truth.target, weight=weight, batch=self.batch, squared=self.squared, smooth=self.smooth)
        first = 0 if self.include_background else 1
        each = 1 - score[..., first:] @ (class_weights[first:] / class_weights[first:].sum())
        if self.batch:
            return each
        # Dice does not change with the size of a case's weights, so the mean over cases has to carry it.
        share = torch.ones_like(each) if truth.case is None else truth.case.to(each)
        if truth.element is not None:
            share = share * (truth.element.flatten(1).sum(1) > 0)
        return _ratio((each * share).sum(), share.sum())


class _Truth(NamedTuple):
    """Target (N, *S) or (N, L, *S); weights of elements (N, *S), of cases (N,), of both (N, *S); None for 1."""

    target: Tensor
    element: Tensor | None
    case: Tensor | None
    both: Tensor | None


def _truth(part: Labelled) -> _Truth:
    """Return target and weights; elements below 0 get the weight 0 and any class."""
    grid = (len(part.logits), *part.logits.shape[2:])
    target, weight = part.target, part.weight
    case = weight if weight is not None and weight.ndim == 1 else None
    element = None if case is not None else weight
    if target.ndim == len(grid):
        target = target.long()
        if bool((absent := target < 0).any()):
            element = (~absent).float() if element is None else element * ~absent
            target = target.clamp(min=0)
    both = element
    if case is not None:
        spread = case.view(-1, *[1] * (len(grid) - 1)).expand(grid)
        both = spread if element is None else spread * element
    return _Truth(target, element, case, both)


def _cross_entropy(logs: Tensor, truth: _Truth, class_weights: Tensor, smoothing: float) -> Tensor:
    """Return the weighted mean over elements for log-probabilities (N, L, *S)."""
    target = truth.target
    if target.ndim == logs.ndim:
        soft = target.to(logs.dtype)
        value = soft_cross_entropy(logs, smooth(soft, smoothing, logs.shape[1]), class_weights)
        share = torch.einsum("bl...,l->b...", soft, class_weights)
    else:
        share = class_weights[target]
        value = -logs.gather(1, target[:, None])[:, 0] * share
        if smoothing:
            even = torch.einsum("bl...,l->b...", logs, class_weights) / logs.shape[1]
            value = (1 - smoothing) * value - smoothing * even
    if truth.both is not None:
        value, share = value * truth.both, share * truth.both
    return _ratio(value.sum(), share.sum())


def _ratio(total: Tensor, count: Tensor) -> Tensor:
    """Return the mean; 0 with a gradient path where nothing counts."""
    return total / torch.where(count > 0, count, torch.ones_like(count))
