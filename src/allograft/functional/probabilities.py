"""Probabilities: what logits say, by kind of task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.core.task import Kind

__all__ = ["most_probable", "probabilities"]


def probabilities(logits: Tensor, kind: Kind) -> Tensor:
    """Return probabilities, always one per class, in float32 or wider.

    Args:
        logits: (B, O) or (B, O, *S).
        kind: binary takes one logit and gives (negative, positive), (B, 2[, *S]); multiclass and segmentation
            give the softmax over O; multilabel gives O independent probabilities.

    Returns:
        (B, L) or (B, L, *S).

    Raises:
        ConfigError: a regression has no probabilities; or a binary task has not one logit.

    >>> probabilities(torch.zeros(1, 1), "binary")
    tensor([[0.5000, 0.5000]])
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if kind == "binary":
        if wide.ndim < 2 or wide.shape[1] != 1:
            msg = f"a binary task has one logit, expected (B, 1) or (B, 1, *S), got {tuple(logits.shape)}."
            raise ConfigError(msg)
        return torch.cat([(-wide).sigmoid(), wide.sigmoid()], dim=1)
    if kind in {"multiclass", "segmentation"}:
        return wide.softmax(dim=1)
    if kind == "multilabel":
        return wide.sigmoid()
    msg = f'a task of kind "{kind}" has no probabilities; its outputs are the values themselves.'
    raise ConfigError(msg)


def most_probable(logits: Sequence[Tensor]) -> Tensor:
    """Return the class of the largest mean probability.

    Args:
        logits: (O, *S), one of each network.

    Returns:
        (*S) int64.

    >>> most_probable([torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [0.0]])])
    tensor([1])
    """
    total = logits[0]
    if len(logits) > 1:
        total = total.softmax(0)
        for one in logits[1:]:
            total += one.softmax(0)
    return total.max(0).indices  # five times as fast as argmax over the slowest axis
