"""A cut encoder: everything behind one of its stages is taken out; what is left computes what it did before.

Truncated transfer learning (Peng et al. 2021, arXiv:2106.05152) keeps the first blocks of a network and
puts a head behind them. Tensors keep their names, so weights of the whole network fit, and the plan
names the rest as cut on purpose.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from allograft.core.errors import ConfigError, did_you_mean
from allograft.nets.network import Encoder, Stage, axis_strides

__all__ = ["CutEncoder", "cut"]

SIDE = 64
"""Least length of the dry run's image; it runs without numbers."""


class CutEncoder(nn.Module):
    """An encoder without its last stages; make one with `cut`.

    Args:
        whole: the encoder, its removed stages already replaced by nothing.
        stages: that are left.
        removed: prefixes of the tensors that were taken out.
        levels: how many of its levels are left.
    """

    def __init__(self, whole: nn.Module, stages: Sequence[Stage], removed: Sequence[str], levels: int) -> None:
        super().__init__()
        shape = cast("Encoder", whole)
        self.dims, self.in_channels = shape.dims, shape.in_channels
        self.channels = tuple(shape.channels[:levels])
        self.strides: tuple[int | tuple[int, ...], ...] = tuple(shape.strides[:levels])
        self.removed = tuple(removed)
        self._stages = tuple(stages)
        self._whole = (whole,)  # in a tuple, so that its layers are registered once, under their own names
        for name, child in whole.named_children():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the levels that are left, for images (B, C, *S)."""
        whole = self._whole[0]
        whole.training = self.training
        return tuple(whole(x)[: len(self.channels)])

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages that are left."""
        return self._stages


def cut(encoder: nn.Module, until: str, *, who: str = "net") -> nn.Module:
    """Return the encoder up to and with the stage `until`; its own layers are used and changed.

    Which levels are left is found out, not assumed: those that no removed tensor can influence.

    Args:
        encoder: an `Encoder`.
        until: name of the last stage to keep.
        who: names the encoder in messages.

    Raises:
        ConfigError: there is no such stage, nothing lies behind it, or the encoder cannot be cut there.
    """
    shape = cast("Encoder", encoder)
    stages = shape.stages()
    names = [stage.name for stage in stages]
    if until not in names:
        msg = f'net.until: {who} has no stage "{until}". {did_you_mean(until, names)} Stages: {", ".join(names)}.'
        raise ConfigError(msg)
    kept, gone = stages[: names.index(until) + 1], stages[names.index(until) + 1 :]
    if not gone:
        msg = f'net.until: "{until}" is the last stage of {who}; nothing would be cut. Leave it out.'
        raise ConfigError(msg)
    removed = [prefix for stage in gone for prefix in stage.prefixes]
    dry = copy.deepcopy(encoder).to("meta").eval()
    depends = _depends(dry, removed)
    levels = depends.index(True) if True in depends else len(depends)
    if not levels or not _depends(dry, kept[-1].prefixes)[levels - 1]:
        ends = [s.name for s in stages if _ends_a_level(dry, stages, s)]
        msg = (
            f'net.until: {who} gives no features at the end of "{until}". Cut it after {", ".join(ends) or "no stage"}.'
        )
        raise ConfigError(msg)
    used = _used(dry, levels)
    idle = [p for stage in kept for p in stage.prefixes if not any(_below(name, [p]) for name in used)]
    removed += idle
    kept = tuple(Stage(s.name, tuple(p for p in s.prefixes if p not in idle)) for s in kept)
    try:
        _take_out(dry, removed)
        dry(_image(dry))
    except (AttributeError, KeyError, TypeError) as error:
        msg = f"net.until: {who} cannot be cut, it holds tensors or calls layers in a way of its own ({error})."
        raise ConfigError(msg) from error
    _take_out(encoder, removed)
    return CutEncoder(encoder, kept, removed, levels)


def _image(encoder: nn.Module) -> Tensor:
    """Return an image without numbers that every stride divides."""
    shape = cast("Encoder", encoder)
    largest = [max(1, *along) for along in zip(*axis_strides(shape), strict=True)]
    return torch.empty(1, shape.in_channels, *(max(2 * s, SIDE // s * s) for s in largest), device="meta")


def _depends(dry: nn.Module, prefixes: Sequence[str]) -> list[bool]:
    """Tell of each level whether a tensor below `prefixes` can influence it."""
    for name, parameter in dry.named_parameters():
        parameter.requires_grad_(_below(name, prefixes))
    with torch.enable_grad():
        return [bool(level.requires_grad) for level in dry(_image(dry))]


def _used(dry: nn.Module, levels: int) -> set[str]:
    """Return the parameters that the first levels use; the transition behind a DenseNet's block may be left idle."""
    named = dict(dry.named_parameters())
    for parameter in named.values():
        parameter.requires_grad_(True)
    with torch.enable_grad():
        total = torch.stack([level.sum() for level in dry(_image(dry))[:levels]]).sum()
    grads = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return {name for name, grad in zip(named, grads, strict=True) if grad is not None}


def _ends_a_level(dry: nn.Module, stages: Sequence[Stage], stage: Stage) -> bool:
    """Tell whether some level depends on a stage and on nothing behind it."""
    behind = [prefix for each in stages[stages.index(stage) + 1 :] for prefix in each.prefixes]
    own = zip(_depends(dry, stage.prefixes), _depends(dry, behind), strict=True)
    return bool(behind) and any(here and not later for here, later in own)


def _below(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def _take_out(encoder: nn.Module, prefixes: Sequence[str]) -> None:
    """Replace modules by the identity.

    Raises:
        AttributeError: a prefix names no module, or the encoder itself holds tensors.
    """
    own = [name for name, _ in (*encoder.named_parameters(recurse=False), *encoder.named_buffers(recurse=False))]
    if own:
        msg = f"{own[0]} lies in no layer"
        raise AttributeError(msg)
    for prefix in prefixes:
        encoder.get_submodule(prefix)
        parent, _, name = prefix.rpartition(".")
        setattr(encoder.get_submodule(parent), name, nn.Identity())
