"""Fit: how one tensor of the source becomes one tensor of the network, judged from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from allograft.weights.adapt import fan_in_ratio
from allograft.weights.kinds import Slot
from allograft.weights.rules import Action, Rule

__all__ = ["TAKES", "Fit", "fit"]

Shape = tuple[int, ...]

_COPIES = frozenset({Action.COPY, Action.RESCALE, Action.INFLATE, Action.COLLAPSE, Action.RESAMPLE})

TAKES = _COPIES | {Action.SELECT, Action.SAMPLE}
"""Actions that need a tensor of the source."""


class Fit(NamedTuple):
    """A conversion that is defined: the action, its numbers, and a remark for `why`."""

    action: Action
    args: Mapping[str, float | int | str] = {}
    remark: str = ""


def fit(slot: Slot, source: Shape, rule: Rule) -> Fit | str:
    """Return how `rule` gets the tensor from one of shape `source`, or a sentence saying why it cannot."""
    if rule.action is Action.SAMPLE:
        ratio = fan_in_ratio(source, slot.shape)
        return Fit(Action.SAMPLE, {"fan_in_ratio": ratio})
    if source == slot.shape:
        return Fit(Action.COPY)
    if rule.action is Action.SELECT:
        return _select(slot, source)
    if slot.kind == "position":
        return _positions(slot, source)
    return _kernel(slot, source, rule)


def _select(slot: Slot, source: Shape) -> Fit | str:
    if len(source) != len(slot.shape) or any(n > m for n, m in zip(slot.shape, source, strict=True)):
        return f"shape {slot.shape} is not a leading part of {source}"
    if source[2:] != slot.shape[2:]:
        return f"kernel size {slot.shape[2:]} differs from {source[2:]}"
    args: dict[str, float | int | str] = {"rows": slot.shape[0]}
    if len(slot.shape) > 1:
        args["columns"] = slot.shape[1]
    return Fit(Action.SELECT, args, "leading channels")


def _positions(slot: Slot, source: Shape) -> Fit | str:
    """Learned positions (1, prefix + n^dims, F) from one square grid to another."""
    wrong = f"positions {source} cannot become {slot.shape}"
    if len(source) != 3 or len(slot.shape) != 3 or (source[0], source[2]) != (slot.shape[0], slot.shape[2]):
        return wrong
    for prefix in (0, 1, 2, 5):
        old, new = _square(source[1] - prefix), _square(slot.shape[1] - prefix)
        if old and new:
            return Fit(Action.RESAMPLE, {"prefix": prefix, "old": old, "new": new}, f"grid {old} to {new}")
    return wrong + ", because no square grids fit"


def _square(tokens: int) -> int:
    """Return n with n * n == tokens, 0 where there is none."""
    side = round(max(tokens, 0) ** 0.5)
    return side if side * side == tokens else 0


def _kernel(slot: Slot, source: Shape, rule: Rule) -> Fit | str:
    """Kernels: other input channels, other dimension, or both, in this order."""
    wrong = f"shape {slot.shape} differs from {source}"
    if not slot.conv or len(source) not in {4, 5} or source[0] != slot.shape[0]:
        return wrong
    channels = _channels(slot, source, rule)
    if isinstance(channels, str):
        return channels
    depth = _depth(slot, source, rule)
    if isinstance(depth, str):
        return depth
    action = depth.action if depth.action is not Action.COPY else channels.action
    remark = ", ".join(text for text in (channels.remark, depth.remark) if text)
    return Fit(action, {**channels.args, **depth.args}, remark)


def _channels(slot: Slot, source: Shape, rule: Rule) -> Fit | str:
    old, new = source[1], slot.shape[1]
    if old == new:
        return Fit(Action.COPY)
    if not slot.input_conv:
        return f"shape {slot.shape} differs from {source}: {new} input channels, the source has {old}"
    how = rule.channels if rule.channels != "auto" else ("sum" if new == 1 else "mean")
    if how == "sum" and new != 1:
        return f'channels "sum" makes one input channel, the network has {new}; use "mean" or "cycle"'
    return Fit(Action.RESCALE, {"channels": how}, f"{old} to {new} input channels by {how}")


def _depth(slot: Slot, source: Shape, rule: Rule) -> Fit | str:
    old, new = source[2:], slot.shape[2:]
    if old == new:
        return Fit(Action.COPY)
    if len(old) == 3 and len(new) == 2 and old[1:] == new:
        return Fit(Action.COLLAPSE, {"depth": old[0]}, "3-D kernel summed over depth")
    if len(old) == 2 and len(new) == 3 and old == new[1:]:
        if rule.fill == "slice" and new[0] != 1:
            return f'fill "slice" makes kernels of depth 1, the network has depth {new[0]}; use "centre" or "average"'
        if rule.fill == "centre" and new[0] % 2 == 0:
            return f'fill "centre" needs an odd depth, the network has {new[0]}; use "average"'
        return Fit(Action.INFLATE, {"fill": rule.fill, "depth": new[0]}, f"2-D kernel to 3-D by {rule.fill}")
    return f"kernel size {new} differs from {old}"
