"""Gradient reversal: the identity on the way forward, a factor of -lambda on the way back.

Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand, Lempitsky. Domain-adversarial training of neural
networks. JMLR 17(59), 2016. arXiv:1505.07818
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

__all__ = ["reverse_gradient"]


def reverse_gradient(x: Tensor, factor: float = 1.0) -> Tensor:
    """Return x itself; what stands before it receives -factor times the gradient.

    Whoever stands behind descends a loss with its own gradient, whoever stands before ascends the same loss: both sides
    of a min-max game learn in one backward pass.

    Args:
        x: any shape.
        factor: lambda, >= 0.

    >>> x = torch.ones(2, requires_grad=True)
    >>> (3 * reverse_gradient(x, 0.5)).sum().backward()
    >>> x.grad
    tensor([-1.5000, -1.5000])
    """
    return cast("Tensor", _Reverse.apply(x, factor))


class _Reverse(torch.autograd.Function):
    """See `reverse_gradient`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * grads[0], None
