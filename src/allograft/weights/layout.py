"""Layout: how a file's tensor is turned into torch's order of axes, as its card says."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from allograft.weights.card import WeightSource

__all__ = ["Turn", "turn"]

_KERNELS = frozenset({"w", "weight", "weights", "kernel", "kernels", "depthwise_kernel", "pointwise_kernel"})


class Turn(NamedTuple):
    """What is done to a tensor: its axes in a new order, then the shape without axes of length 1 of a vector."""

    order: tuple[int, ...]
    shape: tuple[int, ...]

    def of(self, tensor: Tensor) -> Tensor:
        """Return the turned tensor, contiguous."""
        return tensor.permute(self.order).reshape(self.shape).contiguous()


def turn(card: WeightSource, name: str, shape: tuple[int, ...]) -> Turn:
    """Return what a tensor of a file needs.

    In a `channels_last` file kernels (*K, I, O) become (O, I, *K) and dense weights (I, O) become (O, I); what a norm
    layer keeps as (1, ..., 1, C) becomes (C,), where its name is not that of a kernel. `kernel_axes` hold after that.

    Args:
        card: the card.
        name: name of the tensor in the file; its last part tells a kernel from a vector.
        shape: shape in the file.
    """
    axes = len(shape)
    first: tuple[int, ...] = tuple(range(axes))
    if card.layout == "channels_last" and axes in {2, card.dims + 2}:
        kernel = name.replace("/", ".").rpartition(".")[2] in _KERNELS
        if not kernel and all(size == 1 for size in shape[:-1]):
            return Turn(first, shape[-1:])
        first = (axes - 1, axes - 2, *range(axes - 2))
    order = tuple(first[axis] for axis in card.axis_order(axes))
    return Turn(order, tuple(shape[axis] for axis in order))
