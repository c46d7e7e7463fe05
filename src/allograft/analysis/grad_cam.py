"""Grad-CAM: which places of an image made a network say a class.

Selvaraju and others. Grad-CAM: visual explanations from deep networks via gradient-based localization. ICCV 2017.
arXiv:1610.02391

    heat = ReLU(Σ_k a_k A_k),   a_k = mean over positions of d score / d A_k

with A the encoder's deepest features. Behind a global mean and a linear head a_k is the head's weight over the number
of positions: heat is then the class activation map, up to that factor. The gradient runs through the head only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.core.task import Kind
from allograft.nets.network import Network, axis_strides

__all__ = ["class_scores", "grad_cam", "heat_maps", "scaled", "share_inside"]


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Return ReLU(Σ_k a_k A_k), (B, *s), for features and gradients (B, K, *s)."""
    weights = gradients.flatten(2).mean(2).reshape(*gradients.shape[:2], *[1] * (gradients.ndim - 2))
    return (weights * features).sum(1).relu()


def class_scores(logits: Tensor, classes: Tensor, kind: Kind) -> Tensor:
    """Return (B,) what speaks for a class of each case: its logit; of a binary task minus the one logit for class 0.

    Args:
        logits: (B, O).
        classes: (B,) int64.
        kind: multiclass, binary or multilabel.
    """
    if kind == "binary":
        return torch.where(classes > 0, logits[:, 0], -logits[:, 0])
    return logits.gather(1, classes[:, None])[:, 0]


def heat_maps(net: Network, images: Tensor, classes: Tensor, head: str) -> Tensor:
    """Return (B, *S) on the images' grid, each scaled to [0, 1]; all 0 where nothing speaks for the class.

    Args:
        net: in evaluation mode, for classification.
        images: (B, C, *S), normalised.
        classes: (B,) the class of each case that is asked about.
        head: whose logits.

    Raises:
        ConfigError: the network judges by an embedding without positions, or segments.
    """
    if net.decoder is not None or max(axis_strides(net.shape)[-1]) == 0:
        msg = "Grad-CAM needs a classifier that pools its deepest features by itself; this network does not."
        raise ConfigError(msg)
    with torch.no_grad():
        levels = net.encode(images)
    with torch.enable_grad():
        last = levels[-1].detach().requires_grad_()
        logits = net.decode((*levels[:-1], last)).logits[head]
        (gradients,) = torch.autograd.grad(class_scores(logits, classes, net.tasks[head].kind).sum(), last)
    heat = grad_cam(last.detach(), gradients)
    return scaled(_grown(net, heat, tuple(images.shape[2:])))


def _grown(net: Network, heat: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return heat (B, *s) on the images' grid; that of instances (B, K, *s) at their places."""
    if net.bag is not None:
        return net.bag.spread(heat, size)
    mode = "bilinear" if heat.ndim == 3 else "trilinear"
    return nn.functional.interpolate(heat[:, None], size=size, mode=mode, align_corners=False)[:, 0]


def scaled(heat: Tensor) -> Tensor:
    """Return heat (B, *S) >= 0 divided by the largest of each case; 0 where there is none."""
    most = heat.flatten(1).amax(1).reshape(-1, *[1] * (heat.ndim - 1))
    return heat / torch.where(most > 0, most, torch.ones_like(most))


def share_inside(heat: Tensor, mask: Tensor) -> Tensor:
    """Return the share of each case's heat that lies inside its mask, (B,) in [0, 1]; NaN where there is no heat.

    Args:
        heat: (B, *S) >= 0.
        mask: (B, *S) bool.
    """
    return (heat * mask).flatten(1).sum(1) / heat.flatten(1).sum(1)
