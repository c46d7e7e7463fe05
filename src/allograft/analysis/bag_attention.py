"""Bag attention: how much each slice or tile weighed in a network's judgement of an image.

Ilse, Tomczak, Welling. Attention-based deep multiple instance learning. ICML 2018. arXiv:1802.04712
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from allograft.analysis.grad_cam import scaled
from allograft.nets.heads.instances import PooledInstances
from allograft.nets.network import Network

__all__ = ["Attention", "attends", "bag_attention"]


class Attention(NamedTuple):
    """Where a network looked.

    Args:
        heat: (B, *S) on the images' grid, each scaled to [0, 1].
        shares: (B, K) of the instances; rows sum to 1.
        grid: instances along each axis of an image, one axis for slices; K is their product.
    """

    heat: Tensor
    shares: Tensor
    grid: tuple[int, ...]


def attends(net: Network, head: str) -> bool:
    """Tell whether a head weighs the instances of a bag by attention."""
    found = net.heads[head]
    return net.bag is not None and isinstance(found, PooledInstances) and found.attends


def bag_attention(net: Network, images: Tensor, head: str) -> Attention:
    """Return the attention that a head gives to the instances of images (B, C, *S), normalised.

    Args:
        net: in evaluation mode; `attends(net, head)`.
        images: the images.
        head: whose attention.
    """
    found, bag, size = net.heads[head], net.bag, tuple(images.shape[2:])
    assert bag is not None, "asked of networks that attend"
    assert isinstance(found, PooledInstances), "asked of networks that attend"
    with torch.no_grad():
        shares = found.weights(*net.instances(net.encode(images)))
    inside = bag.tile or size[1:]
    heat = bag.spread(shares.reshape(*shares.shape, *[1] * len(inside)), size)
    return Attention(scaled(heat), shares, bag.grid(size))
