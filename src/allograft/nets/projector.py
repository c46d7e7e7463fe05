"""Projector: the small perceptron behind an encoder on which self-supervised losses act."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

__all__ = ["projector"]


def projector(
    *widths: int,
    norm: bool = True,
    last_norm: bool = False,
    last_bias: bool = True,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Return linear layers of these widths with batch norm and an activation between them.

    Args:
        widths: of input, hidden layers and output, at least two.
        norm: batch norm behind hidden layers.
        last_norm: batch norm without scale and shift behind the last layer.
        last_bias: whether the last layer has a bias.
        activation: behind hidden layers.
    """
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(widths), 1):
        last = number == len(widths) - 1
        layers.append(nn.Linear(before, after, bias=last_bias if last else not norm))
        if not last:
            layers += [*([nn.BatchNorm1d(after)] if norm else []), activation()]
    return nn.Sequential(*layers, *([nn.BatchNorm1d(widths[-1], affine=False)] if last_norm else []))
