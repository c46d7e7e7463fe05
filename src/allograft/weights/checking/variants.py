"""Variants: changes of a loaded encoder that leave every name and shape as it is, and not what is computed.

Each is a fault known from files in use. An edit is tried on a copy and judged by a fingerprint; one that makes
it fit names the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, permutations
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from allograft.nets.network import Encoder
from allograft.weights.card import WeightSource
from allograft.weights.checking.cause import Cause
from allograft.weights.kinds import is_norm

__all__ = ["Edit", "edits"]

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_POOLS = (nn.MaxPool2d, nn.MaxPool3d)
_EPSILONS = (1e-3, 1e-5, 1e-6, 1e-4, 1e-2, 1e-1)
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky ReLU (0.01)": lambda: nn.LeakyReLU(0.01),
    "ReLU": nn.ReLU,
    "SiLU": nn.SiLU,
    "GELU": nn.GELU,
    "ELU": nn.ELU,
    "ReLU6": nn.ReLU6,
}


class Edit(NamedTuple):
    """One change: its cause, in words, what to write into the card, and what does it to an encoder."""

    cause: Cause
    words: str
    change: dict[str, Any]
    act: Callable[[nn.Module], None]


def edits(encoder: nn.Module, card: WeightSource, stage: str) -> Iterator[Edit]:
    """Yield the edits that make sense for an encoder whose first stage that differs is `stage`."""
    yield from _channel_orders(encoder, card)
    yield from _axis_orders(encoder, card)
    yield from _norms(encoder)
    yield from _activations(encoder)
    stages = [each.name for each in cast("Encoder", encoder).stages()]
    if stage in stages[:2]:
        yield from _stems(encoder)
    if stage in stages:
        yield from _strides(encoder, stage)
        yield from _strides(encoder, "")


def _channel_orders(encoder: nn.Module, card: WeightSource) -> Iterator[Edit]:
    """Orders of the input channels: all of up to four, reversal and swaps of two for more."""
    first = _first(encoder)
    channels = 0 if first is None or first.groups > 1 else first.in_channels
    if channels < 2:
        return
    names = card.expects.channel_names or tuple("RGB" if channels == 3 else map(str, range(channels)))
    for order in _orders(channels):
        named = [names[i] for i in order]
        reverse = " (BGR for RGB)" if names == ("R", "G", "B") and order == (2, 1, 0) else ""
        words = f"the file's input channels are {', '.join(named)} where the card has {', '.join(names)}{reverse}"
        # Slot i of the network sees channel i of the input; the file had that channel at place order.index(i).
        places = [order.index(i) for i in range(channels)]
        yield Edit("channel_order", words, {"expects": {"channel_names": named}}, _reorder(places))


def _orders(channels: int) -> Iterator[tuple[int, ...]]:
    same = tuple(range(channels))
    if channels <= 4:
        # Reversal first: it is by far the most frequent.
        yield from sorted((p for p in permutations(same) if p != same), key=lambda p: p != same[::-1])
        return
    yield same[::-1]
    for i, j in combinations(same, 2):
        order = list(same)
        order[i], order[j] = j, i
        yield tuple(order)


def _reorder(places: list[int]) -> Callable[[nn.Module], None]:
    def act(encoder: nn.Module) -> None:
        first = _first(encoder)
        assert first is not None, "only offered where there is one"
        first.weight = nn.Parameter(first.weight.data[:, places].contiguous())

    return act


def _axis_orders(encoder: nn.Module, card: WeightSource) -> Iterator[Edit]:
    """Orders of the kernels' axes that keep all shapes."""
    now = card.kernel_axes or tuple(range(card.dims))
    kernels = {tuple(conv.kernel_size) for conv in _convolutions(encoder)}
    for order in permutations(range(card.dims)):
        if order == tuple(range(card.dims)) or any(tuple(k[i] for i in order) != k for k in kernels):
            continue
        axes = [now[i] for i in order]
        yield Edit("axis_order", f"kernel_axes: {axes}", {"kernel_axes": axes}, _turn(order))


def _turn(order: tuple[int, ...]) -> Callable[[nn.Module], None]:
    def act(encoder: nn.Module) -> None:
        for conv in _convolutions(encoder):
            conv.weight = nn.Parameter(conv.weight.data.permute(0, 1, *(i + 2 for i in order)).contiguous())

    return act


def _norms(encoder: nn.Module) -> Iterator[Edit]:
    """Other epsilons, and statistics of the batch."""
    found = [module for module in encoder.modules() if is_norm(module) and hasattr(module, "eps")]
    if not found:
        return
    for eps in _EPSILONS:
        if any(module.eps != eps for module in found):
            yield Edit("norm_epsilon", f"norm layers with epsilon {eps:g}", {}, _epsilon(eps))
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in found):
        yield Edit("norm_batch", "norm layers that use the statistics of the batch in evaluation too", {}, _batch)


def _epsilon(eps: float) -> Callable[[nn.Module], None]:
    def act(encoder: nn.Module) -> None:
        for module in encoder.modules():
            if is_norm(module) and hasattr(module, "eps"):
                cast("Any", module).eps = eps

    return act


def _batch(encoder: nn.Module) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = None


def _activations(encoder: nn.Module) -> Iterator[Edit]:
    known = (nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.ELU, nn.ReLU6)
    present = {type(module) for module in encoder.modules() if isinstance(module, known)}
    for name, make in _ACTIVATIONS.items():
        if present and present != {type(make())}:
            yield Edit("activation", f"activation {name}", {}, _activate(make, known))


def _activate(make: Callable[[], nn.Module], known: tuple[type[nn.Module], ...]) -> Callable[[nn.Module], None]:
    def act(encoder: nn.Module) -> None:
        for module in list(encoder.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, known):
                    setattr(module, name, make())

    return act


def _stems(encoder: nn.Module) -> Iterator[Edit]:
    """Other strides of the first convolution and of the pooling behind it."""
    first = _first(encoder)
    if first is None:
        return
    for stride in (1, 2):
        if set(first.stride) != {stride}:
            yield Edit("stem_stride", f"a first convolution of stride {stride}", {}, _stem(stride, pooled=True))
    if any(isinstance(module, _POOLS) for module in encoder.modules()):
        yield Edit("stem_stride", "no pooling behind the first convolution", {}, _stem(0, pooled=False))
        yield Edit("stem_stride", "a first convolution of stride 1 and no pooling", {}, _stem(1, pooled=False))


def _stem(stride: int, *, pooled: bool) -> Callable[[nn.Module], None]:
    def act(encoder: nn.Module) -> None:
        first = _first(encoder)
        assert first is not None, "only offered where there is one"
        if stride:
            first.stride = (stride,) * len(first.stride)
        for name, child in encoder.named_children() if not pooled else ():
            if isinstance(child, _POOLS):
                setattr(encoder, name, nn.Identity())
                break

    return act


def _strides(encoder: nn.Module, stage: str) -> Iterator[Edit]:
    """Strides and dilations of one stage, of all where it is ""."""
    where = stage or "all stages"
    inside = _stage_convolutions(encoder, stage)
    if any(max(conv.stride) > 1 for conv in inside):
        yield Edit("stride", f"stride 1 in {where}", {}, _stage(stage, stride=1, dilation=0))
        yield Edit("dilation", f"stride 1 and dilation 2 in {where}", {}, _stage(stage, stride=1, dilation=2))
        yield Edit("stride", f"the stride on the first convolution of bottlenecks in {where}", {}, _early(stage))
    for dilation in (1, 2, 4):
        if any(set(conv.dilation) != {dilation} and max(conv.kernel_size) == 3 for conv in inside):
            yield Edit("dilation", f"dilation {dilation} in {where}", {}, _stage(stage, stride=0, dilation=dilation))


def _stage(stage: str, *, stride: int, dilation: int) -> Callable[[nn.Module], None]:
    def act(encoder: nn.Module) -> None:
        for conv in _stage_convolutions(encoder, stage):
            if stride:
                conv.stride = (stride,) * len(conv.stride)
            if dilation and max(conv.kernel_size) == 3:
                conv.dilation = (dilation,) * len(conv.dilation)
                conv.padding = tuple(dilation * (k // 2) for k in conv.kernel_size)

    return act


def _early(stage: str) -> Callable[[nn.Module], None]:
    """The original residual network strides in the first convolution of a bottleneck, later ones in the second."""

    def act(encoder: nn.Module) -> None:
        convs = {id(conv) for conv in _stage_convolutions(encoder, stage)}
        for block in encoder.modules():
            one, two = getattr(block, "conv1", None), getattr(block, "conv2", None)
            if hasattr(block, "conv3") and id(two) in convs:
                pair = cast("tuple[Any, Any]", (one, two))
                pair[0].stride, pair[1].stride = pair[1].stride, pair[0].stride

    return act


def _stage_convolutions(encoder: nn.Module, stage: str) -> list[Any]:
    """Return the convolutions of a stage; of all but the first stage where it is ""."""
    stages = cast("Encoder", encoder).stages()
    parts = [p for each in stages[1:] if not stage or each.name == stage for p in each.prefixes]
    return [
        module
        for name, module in encoder.named_modules()
        if isinstance(module, _CONVOLUTIONS) and any(name == p or name.startswith(p + ".") for p in parts)
    ]


def _convolutions(encoder: nn.Module) -> list[Any]:
    return [module for module in encoder.modules() if isinstance(module, _CONVOLUTIONS)]


def _first(encoder: nn.Module) -> nn.Conv2d | nn.Conv3d | None:
    """Return the convolution that sees the image."""
    channels = cast("Encoder", encoder).in_channels
    found = next((conv for conv in _convolutions(encoder)), None)
    fits = found is not None and found.in_channels == channels and isinstance(found.weight, torch.Tensor)
    return cast("nn.Conv2d", found) if fits else None
