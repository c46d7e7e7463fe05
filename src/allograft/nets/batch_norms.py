"""Batch norms: the running statistics of a network, measured anew on other images, or mixed with those it had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from allograft.core.errors import DataError
from allograft.nets.modes import evaluating
from allograft.nets.network import Network

__all__ = ["batch_norms", "blend", "restate", "statistics"]


def batch_norms(net: nn.Module) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    """Return the batch normalisation layers that keep running statistics, by name."""
    found = ((name, m) for name, m in net.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return {name: layer for name, layer in found if layer.running_mean is not None and layer.running_var is not None}


def statistics(net: nn.Module) -> dict[str, Tensor]:
    """Return copies of all running means and variances, named as in the state dict."""
    return {
        f"{name}.{which}": getattr(layer, which).clone()
        for name, layer in batch_norms(net).items()
        for which in ("running_mean", "running_var")
    }


def restate(net: Network, images: Iterable[Tensor]) -> None:
    """Measure the running statistics anew: the mean over batches of each batch's mean and unbiased variance.

    Batch norm layers alone are in training mode, so each layer sees what the layers before it make of the new
    images; dropout is off, there are no gradients, and no weight moves. Batches count alike: give equal ones.

    Args:
        net: changed in place; every module keeps its mode.
        images: batches (B, C, *S) as the network takes them.

    Raises:
        DataError: there is no batch, or one in which a layer sees a single value per channel.
    """
    layers, device, seen = list(batch_norms(net).values()), next(net.parameters()).device, 0
    momenta = [layer.momentum for layer in layers]
    with evaluating(net):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum, layer.training = None, True  # None: the plain mean over batches
        try:
            for x in images:
                _pass(net, x.to(device))
                seen += 1
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
    if not seen:
        msg = "statistics of normalisation layers are measured on images, and there is none. Check the cohort."
        raise DataError(msg)


def _pass(net: Network, x: Tensor) -> None:
    try:
        net(x)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        msg = (
            f"a batch of {len(x)} images of size {tuple(x.shape[2:])} leaves a normalisation layer one value per "
            f"channel, which has no variance. Give at least two cases, and a batch of at least 2."
        )
        raise DataError(msg) from error


@torch.no_grad()
def blend(net: nn.Module, before: Mapping[str, Tensor], share: float) -> None:
    """Set each running statistic to (1 - share) * before + share * now.

    Args:
        net: changed in place.
        before: from `statistics`.
        share: of what the network has now, in [0, 1].
    """
    state = net.state_dict()
    for name, old in before.items():
        state[name].copy_((1 - share) * old + share * state[name])
