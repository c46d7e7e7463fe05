"""Modes: a network looked at without being changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["evaluating", "unmeasured", "unmoved"]


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Put every module of `net` into evaluation mode without gradients; give each its own mode back."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def unmoved(net: nn.Module) -> Iterator[None]:
    """Let passes without gradients through `net` in its own modes, and leave running statistics as they are."""
    with unmeasured(net), torch.no_grad():
        yield


@contextmanager
def unmeasured(net: nn.Module) -> Iterator[None]:
    """Let passes through `net` in its own modes, of images whose statistics are not to enter the running ones."""
    layers = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
