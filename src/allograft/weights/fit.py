"""Fit: how one tensor of the source becomes one tensor of the network, judged from shapes alone."""

from __future__ import annotations

from allograft.core.channel_names import channel_words, match_channels
from allograft.core.input_spec import InputSpec
from allograft.weights.adapt import fan_in_ratio
from allograft.weights.fit_positions import Fit, fit_positions
from allograft.weights.kinds import Slot
from allograft.weights.rules import CONVERSIONS, Action, Rule

__all__ = ["TAKES", "Fit", "fit"]

Shape = tuple[int, ...]

TAKES = CONVERSIONS | {Action.COPY, Action.SELECT, Action.SAMPLE}
"""Actions that need a tensor of the source."""


def fit(slot: Slot, source: Shape, rule: Rule, expects: InputSpec | None = None) -> Fit | str:
    """Return how `rule` gets the tensor from one of shape `source`, or a sentence saying why it cannot.

    Args:
        slot: the tensor.
        source: shape of the source's.
        rule: what is asked for.
        expects: the source's input contract: names of its channels, and the size that its positions are for.
    """
    if rule.action is Action.SAMPLE:
        ratio = fan_in_ratio(source, slot.shape)
        return Fit(Action.SAMPLE, {"fan_in_ratio": ratio})
    if rule.action is Action.SELECT:
        return Fit(Action.COPY) if source == slot.shape else _select(slot, source)
    if slot.kind == "position":
        return fit_positions(slot, source, expects)
    if source == slot.shape and not slot.input_conv:
        return Fit(Action.COPY)
    return _kernel(slot, source, rule, expects)


def _select(slot: Slot, source: Shape) -> Fit | str:
    if len(source) != len(slot.shape) or any(n > m for n, m in zip(slot.shape, source, strict=True)):
        return f"shape {slot.shape} is not a leading part of {source}"
    if source[2:] != slot.shape[2:]:
        return f"kernel size {slot.shape[2:]} differs from {source[2:]}"
    args: dict[str, float | int | str] = {"rows": slot.shape[0]}
    if len(slot.shape) > 1:
        args["columns"] = slot.shape[1]
    return Fit(Action.SELECT, args, "leading channels")


def _kernel(slot: Slot, source: Shape, rule: Rule, expects: InputSpec | None) -> Fit | str:
    """Kernels: other input channels, other dimension, other size, or several of them, in this order."""
    wrong = f"shape {slot.shape} differs from {source}"
    if not slot.conv or len(source) not in {4, 5} or source[0] != slot.shape[0]:
        return wrong
    channels = _channels(slot, source, rule, expects)
    if isinstance(channels, str):
        return channels
    extent = _extent(slot, source, rule)
    if isinstance(extent, str):
        return extent
    action = extent.action if extent.action is not Action.COPY else channels.action
    remark = ", ".join(text for text in (channels.remark, extent.remark) if text)
    return Fit(action, {**channels.args, **extent.args}, remark)


def _channels(slot: Slot, source: Shape, rule: Rule, expects: InputSpec | None) -> Fit | str:
    old, new = source[1], slot.shape[1]
    if not slot.input_conv:
        wrong = f"shape {slot.shape} differs from {source}: {new} input channels, the source has {old}"
        return Fit(Action.COPY) if old == new else wrong
    names = expects.channel_names if expects is not None and expects.channels == old else ()
    if found := match_channels(names, slot.channel_names):
        return _named(slot, names, found, rule)
    said = _strangers(names, slot.channel_names)
    if old == new:
        return Fit(Action.COPY, remark=said + "; copied in order" if said else "")
    how = rule.channels if rule.channels != "auto" else ("sum" if new == 1 else "mean")
    if how == "sum" and new != 1:
        return f'channels "sum" makes one input channel, the network has {new}; use "mean" or "cycle"'
    remark = f"{old} to {new} input channels by {how}" + (f" ({said})" if said else "")
    return Fit(Action.RESCALE, {"channels": how}, remark)


def _named(slot: Slot, names: tuple[str, ...], found: tuple[int | None, ...], rule: Rule) -> Fit:
    """Channels of one meaning meet; `order` lists the source's index of each, "new" for one that it has not."""
    words = {"mean": "mean of known", "zero": "zero", "fresh": "fresh"}[rule.new_channels]
    remark = "channels by name: " + channel_words(names, slot.channel_names, found, words)
    if found == tuple(range(len(names))):
        return Fit(Action.COPY, remark=remark)
    args = {"channels": "named", "order": " ".join("new" if i is None else str(i) for i in found)}
    return Fit(Action.RESCALE, {**args, "new_channels": rule.new_channels} if None in found else args, remark)


def _strangers(source: tuple[str, ...], data: tuple[str, ...]) -> str:
    """Say that names are known on both sides and none is on both."""
    if not (source and data):
        return ""
    return f"no channel of the data ({', '.join(data)}) is named like the source's ({', '.join(source)})"


def _extent(slot: Slot, source: Shape, rule: Rule) -> Fit | str:
    """Dimension, then size within the axes that both have."""
    old, new = source[2:], slot.shape[2:]
    if old == new:
        return Fit(Action.COPY)
    shared = min(len(old), len(new))
    size = _size(old[-shared:], new[-shared:], rule)
    if isinstance(size, str):
        return f"kernel size {new} differs from {old}; {size}"
    if len(old) == len(new):
        return size
    depth = _depth(old, new, rule)
    if isinstance(depth, str):
        return depth
    remark = ", ".join(text for text in (depth.remark, size.remark) if text)
    return Fit(depth.action, {**depth.args, **size.args}, remark)


def _depth(old: Shape, new: Shape, rule: Rule) -> Fit | str:
    if len(old) > len(new):
        return Fit(Action.COLLAPSE, {"depth": old[0]}, "3-D kernel summed over depth")
    if rule.fill == "slice" and new[0] != 1:
        return f'fill "slice" makes kernels of depth 1, the network has depth {new[0]}; use "centre" or "average"'
    if rule.fill == "centre" and new[0] % 2 == 0:
        return f'fill "centre" needs an odd depth, the network has {new[0]}; use "average"'
    return Fit(Action.INFLATE, {"fill": rule.fill, "depth": new[0]}, f"2-D kernel to 3-D by {rule.fill}")


def _size(old: Shape, new: Shape, rule: Rule) -> Fit | str:
    if old == new:
        return Fit(Action.COPY)
    if rule.kernel == "refuse":
        return 'kernel "centre" or "average" would convert it'
    if rule.kernel == "centre" and any((n - m) % 2 for n, m in zip(new, old, strict=True)):
        return 'kernel "centre" needs sizes that are both odd or both even; use "average"'
    shapes = f"{'x'.join(map(str, old))} to {'x'.join(map(str, new))}"
    return Fit(Action.RESIZE, {"kernel": rule.kernel}, f"kernel {shapes} by {rule.kernel}")
