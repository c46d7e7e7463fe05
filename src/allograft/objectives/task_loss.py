"""The plain loss of a task: what every objective for labelled cases starts from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from allograft.contracts import Loss, TaskLoss
from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.cross_entropy import binary_cross_entropy, one_hot, smooth, soft_cross_entropy
from allograft.nets.network import Output
from allograft.objectives.labelled import labelled
from allograft.objectives.segmentation_loss import SegmentationLoss

__all__ = ["task_loss"]


class _Terms(NamedTuple):
    """Terms of a weighted mean: `value` (N,) summed over a case, and what it counts for, `share` (N,)."""

    value: Tensor
    share: Tensor


def task_loss(
    task: Task,
    *,
    label_smoothing: float = 0.0,
    class_weights: tuple[float, ...] = (),
    segmentation: SegmentationLoss | None = None,
) -> TaskLoss:
    """Return the loss of a task, a mean over the labelled cases of a batch.

    Multiclass is cross-entropy for (B,) indices or soft (B, L) targets, binary and multilabel are
    binary cross-entropy on logits, regression is the squared error, segmentation is soft Dice and
    cross-entropy (`SegmentationLoss`). `Batch.weight` (B,) weighs cases. In multilabel, a single
    label below 0 or NaN is absent too. A batch without a labelled case gives 0, with a gradient
    of 0.

    Args:
        task: what is predicted; its head names logits and targets.
        label_smoothing: in [0, 1); 0 for regression.
        class_weights: one per class (binary: negative, positive; multilabel: one per label), > 0;
            empty for 1. The mean is divided by the weights, as in PyTorch.
        segmentation: settings of the loss of a segmentation, None for the usual ones.

    Raises:
        ConfigError: the settings do not fit the task.
    """
    if class_weights and len(class_weights) != len(task.classes):
        msg = f"class_weights has {len(class_weights)} values for {len(task.classes)} classes {list(task.classes)}."
        raise ConfigError(msg)
    if task.kind == "segmentation":
        settings = segmentation or SegmentationLoss()
        return settings.build(task, label_smoothing=label_smoothing, class_weights=class_weights)
    if segmentation is not None:
        msg = f"settings of a segmentation loss do nothing in a {task.kind} task. Leave them out."
        raise ConfigError(msg)
    if task.kind == "regression" and (label_smoothing or class_weights):
        msg = "label_smoothing and class_weights are about classes; a regression has none. Leave them out."
        raise ConfigError(msg)
    weights = torch.tensor(class_weights) if class_weights else None
    terms = {"multiclass": _multiclass, "binary": _binary, "multilabel": _multilabel, "regression": _squares}[task.kind]

    def loss(out: Output, batch: Batch) -> Loss:
        part = labelled(out, batch, task)
        on_device = None if weights is None else weights.to(part.logits)
        found = terms(part.logits, part.target, label_smoothing, on_device)
        return _mean(found, part.weight)

    return loss


def _mean(terms: _Terms, weight: Tensor | None) -> Loss:
    """Return the weighted mean; 0 with a gradient path where nothing counts."""
    value, share = (terms.value, terms.share) if weight is None else (terms.value * weight, terms.share * weight)
    count = share.sum()
    total = value.sum() / torch.where(count > 0, count, torch.ones_like(count))
    return Loss(total, {"task": total.detach()})


def _multiclass(logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None) -> _Terms:
    """Return the cross-entropy for targets (N,) or soft (N, L)."""
    soft = target.to(logits.dtype) if target.ndim == 2 else one_hot(target, logits.shape[1], logits.dtype)
    value = soft_cross_entropy(logits, smooth(soft, smoothing, logits.shape[1]), weights)
    return _Terms(value, soft.sum(1) if weights is None else soft @ weights)


def _binary(logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None) -> _Terms:
    """Return the binary cross-entropy for targets (N,) or (N, 1), hard or soft, or the soft (N, 2) of both classes."""
    both = target.ndim == 2 and target.shape[1] == 2
    truth = (target[:, 1] if both else target.reshape(-1)).to(logits.dtype)
    value = binary_cross_entropy(logits[:, 0], smooth(truth, smoothing, 2))
    if weights is None:
        return _Terms(value, torch.ones_like(value))
    share = (1 - truth) * weights[0] + truth * weights[1]
    return _Terms(value * share, share)


def _multilabel(logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None) -> _Terms:
    """Return the binary cross-entropy for targets (N, L), summed over the labels that are present."""
    known = target >= 0  # also False for NaN
    truth = torch.where(known, target, torch.zeros_like(target)).to(logits.dtype)
    share = known.to(logits.dtype) if weights is None else known * weights
    value = binary_cross_entropy(logits, smooth(truth, smoothing, 2)) * share
    return _Terms(value.sum(1), share.sum(1))


def _squares(logits: Tensor, target: Tensor, _smoothing: float, _weights: Tensor | None) -> _Terms:
    """Return the squared error for targets (N,) or (N, L), averaged over L."""
    value = (logits - target.reshape(logits.shape).to(logits.dtype)).square().mean(1)
    return _Terms(value, torch.ones_like(value))
