"""A training loop of the bare minimum that honours `learns`: the independent judge of tunings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from allograft.nets.network import Network
from allograft.weights.plan import TransferPlan

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def synthetic_batch(dims: int, step: int, *, channels: int = 3, size: int = 8) -> tuple[Tensor, Tensor]:
    """Return images (8, C, *S) whose brightness tells the class, and the classes (8,)."""
    generator = torch.Generator().manual_seed(step)
    target = torch.arange(8) % 2
    image = torch.randn(8, channels, *[size] * dims, generator=generator)
    return image + target.reshape(-1, *[1] * (dims + 1)), target


def snapshot(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return the names of tensors with any different bit."""
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def loss_of(net: Network, dims: int, step: int) -> Tensor:
    image, target = synthetic_batch(dims, step)
    logits = net(image).logits["label"]
    return nn.functional.cross_entropy(logits.flatten(2).mean(2) if logits.ndim > 2 else logits, target)


def hand_train(net: Network, plan: TransferPlan, steps: int, **options: Any) -> dict[int, dict[str, Tensor]]:
    """Train by plain SGD; return the state after each step (0 is the start).

    Options: lr (0.1), penalty (a module or None).
    """
    dims, lr, penalty = net.shape.dims, options.get("lr", 0.1), options.get("penalty")
    rows = {e.target: e for e in plan.entries}
    states = {0: snapshot(net)}
    for step in range(steps):
        net.train()
        for name, module in net.named_modules():
            if isinstance(module, NORMS):
                own = [rows[f"{name}.{key}"] for key in module.state_dict()]
                module.train(any(e.scale_at(step) > 0 for e in own))
        loss = loss_of(net, dims, step)
        loss = loss if penalty is None else loss + penalty(net)
        net.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            for name, value in net.named_parameters():
                if value.grad is not None:
                    value.sub_(lr * rows[name].scale_at(step) * value.grad)
        states[step + 1] = snapshot(net)
    return states
