"""The plain loss of a task: what every objective for labelled cases starts from.

Cases whose target is absent are taken out before anything is computed, so nothing that stands in
their place can reach the loss or a gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from allograft.contracts import Loss, TaskLoss
from allograft.core.errors import ConfigError, DataError
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.functional.cross_entropy import binary_cross_entropy, one_hot, smooth, soft_cross_entropy
from allograft.nets.network import Output

__all__ = ["task_loss"]


class _Terms(NamedTuple):
    """Terms of a weighted mean: `value` (N,) summed over a case, and what it counts for, `share` (N,)."""

    value: Tensor
    share: Tensor


def task_loss(task: Task, *, label_smoothing: float = 0.0, class_weights: tuple[float, ...] = ()) -> TaskLoss:
    """Return the loss of a task, a mean over the labelled cases of a batch.

    Multiclass is cross-entropy for (B,) indices or soft (B, L) targets, binary and multilabel are
    binary cross-entropy on logits, regression is the squared error. `Batch.weight` (B,) weighs
    cases. In multilabel, a single label below 0 or NaN is absent too. A batch without a labelled
    case gives 0, with a gradient of 0.

    Args:
        task: what is predicted; its head names logits and targets.
        label_smoothing: in [0, 1); 0 for regression.
        class_weights: one per class (binary: negative, positive; multilabel: one per label), > 0;
            empty for 1. The mean is divided by the weights, as in PyTorch.

    Raises:
        ConfigError: the task is a segmentation, or the settings do not fit it.
    """
    if class_weights and len(class_weights) != len(task.classes):
        msg = f"class_weights has {len(class_weights)} values for {len(task.classes)} classes {list(task.classes)}."
        raise ConfigError(msg)
    if task.kind == "segmentation":
        msg = 'the plain loss of a "segmentation" is not built yet; give an objective that brings its own.'
        raise ConfigError(msg)
    if task.kind == "regression" and (label_smoothing or class_weights):
        msg = "label_smoothing and class_weights are about classes; a regression has none. Leave them out."
        raise ConfigError(msg)
    weights = torch.tensor(class_weights) if class_weights else None
    terms = {"multiclass": _multiclass, "binary": _binary, "multilabel": _multilabel, "regression": _squares}[task.kind]

    def loss(out: Output, batch: Batch) -> Loss:
        logits, target, weight = _labelled(out, batch, task)
        on_device = None if weights is None else weights.to(logits)
        found = terms(logits, target, label_smoothing, on_device)
        return _mean(found, weight)

    return loss


def _labelled(out: Output, batch: Batch, task: Task) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return logits (N, O), targets and weights (N,) of the N cases whose target is present."""
    head = task.head
    if head not in batch.targets or head not in batch.present or head not in out.logits:
        msg = (
            f'head "{head}": expected logits, targets and present flags of that name; got logits {sorted(out.logits)}, '
            f"targets {sorted(batch.targets)}, present {sorted(batch.present)}. Name the task's head as in the data."
        )
        raise DataError(msg)
    logits, here = out.logits[head], batch.present[head]
    if logits.shape[1:] != (task.outputs,):
        msg = f'head "{head}": expected logits (B, {task.outputs}) for a {task.kind} task, got {tuple(logits.shape)}.'
        raise ConfigError(msg)
    target, weight = batch.targets[head], batch.weight
    if weight is not None and weight.shape != here.shape:
        msg = f"weight: expected one per case, {tuple(here.shape)}, got {tuple(weight.shape)}."
        raise DataError(msg)
    if bool(here.all()):
        return logits, target, weight
    return logits[here], target[here], None if weight is None else weight[here]


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
    """Return the binary cross-entropy for targets (N,) or (N, 1), hard or soft."""
    truth = target.reshape(-1).to(logits.dtype)
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
