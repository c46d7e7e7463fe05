"""Any timm network with `forward_intermediates` as an encoder; the only file that imports timm.

The whole network is built (features_only would drop layers and rename tensors), so its tensors are
`model.` + timm's own names and a timm checkpoint fits by name. The levels are timm's intermediates, the
deepest replaced by the final features, so that averaging the last level gives what timm's own
classifier sees. Where timm pools in another way (class token, layers after the pooling), the pooled
embedding follows as one more level of a single position, with stride 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal, NamedTuple, cast

import timm
import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.network import Stage

__all__ = ["TimmEncoder"]

Layout = Literal["channels_first", "channels_last", "tokens"]


class TimmEncoder(nn.Module):
    """A timm network behind the encoder contract.

    Args:
        name: timm's name, e.g. "tf_efficientnet_lite0"; never downloads anything.
        dims: 2.
        in_channels: channels of the image.
        width: must be 1; timm's names fix the width.
        drop_path: largest stochastic-depth rate, where the network has it.

    Raises:
        ConfigError: timm does not know the name, the network cannot give intermediates, or a setting
            has no meaning for it.
    """

    def __init__(
        self, name: str, *, dims: int = 2, in_channels: int = 3, width: float = 1.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        _check(name, dims, width)
        facts = _facts(name)
        self.name, self.dims, self.in_channels = name, dims, in_channels
        self.channels, self.strides, self.facts = facts.channels, facts.strides, facts
        self.model = _create(name, facts.options, in_chans=in_channels, drop_path=drop_path)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the levels for images (B, C, H, W).

        Raises:
            ConfigError: the network takes images of another size.
        """
        self._check_size(tuple(x.shape[2:]))
        return _levels(self.model, x, self.facts)

    def stages(self) -> tuple[Stage, ...]:
        """Return stem, stage1 and so on by timm's own grouping, and top for what follows the blocks."""
        groups = _groups(self.model.state_dict().keys(), cast("Any", self.model).group_matcher(coarse=True))
        return tuple(Stage(name, tuple(f"model.{p}" for p in prefixes)) for name, prefixes in groups.items())

    def _check_size(self, size: tuple[int, ...]) -> None:
        needed, patch = self.facts.only_size, self.strides[0]
        if needed is not None and size != needed:
            msg = f"timm:{self.name} takes images of {needed} pixels, got {size}. Resize them in the study's data."
            raise ConfigError(msg)
        if self.facts.layout == "tokens" and any(n % patch for n in size):
            msg = f"timm:{self.name} cuts patches of {patch} pixels, got images of {size}. Use multiples of {patch}."
            raise ConfigError(msg)


class _Facts(NamedTuple):
    """What running a network without numbers tells about it."""

    options: tuple[tuple[str, Any], ...]
    indices: tuple[int, ...] | None
    layout: Layout
    averages: bool
    only_size: tuple[int, ...] | None
    channels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()


def _levels(model: nn.Module, x: Tensor, facts: _Facts) -> tuple[Tensor, ...]:
    net = cast("Any", model)
    indices = None if facts.indices is None else list(facts.indices)
    final, between = net.forward_intermediates(x, indices=indices)
    levels = (*between[:-1], _channels_first(final, between[-1].shape[2:], facts.layout))
    if facts.averages:
        return levels
    pooled = net.forward_head(final, pre_logits=True)
    return (*levels, pooled.reshape(*pooled.shape[:2], 1, 1))


def _channels_first(final: Tensor, grid: torch.Size, layout: Layout) -> Tensor:
    """Return final features as (B, C, H, W); class and register tokens come first and are left out."""
    if layout == "channels_last":
        return final.permute(0, 3, 1, 2)
    if layout == "tokens":
        patches = final[:, final.shape[1] - math.prod(grid) :]
        return patches.transpose(1, 2).reshape(final.shape[0], final.shape[2], *grid)
    return final


@lru_cache(maxsize=256)
def _facts(name: str) -> _Facts:
    """Run the network on the meta device and note the shapes that really come out."""
    options: tuple[tuple[str, Any], ...] = ()
    with torch.device("meta"):
        model = _create(name, options)
        if hasattr(model, "dynamic_img_size"):  # positions are interpolated at other sizes, untouched at its own
            options = (("dynamic_img_size", True),)
            model = _create(name, options)
        net = cast("Any", model.eval())
        own = tuple(net.pretrained_cfg["input_size"][1:])
        fixed = bool(net.pretrained_cfg.get("fixed_input_size"))
        size = own if fixed else (256, 256)
        x = torch.empty(1, 3, *size)
        indices = _indices([info["reduction"] for info in _feature_info(net)])
        final, between = net.forward_intermediates(x, indices=None if indices is None else list(indices))
        layout = _layout(final, between[-1])
        averages = layout != "tokens" and _averages(net, final)
        facts = _Facts(options, indices, layout, averages, own if fixed and not options else None)
        levels = _levels(net, x, facts)
    strides = tuple(round(size[0] / level.shape[2]) if level.shape[2] > 1 else 0 for level in levels)
    return facts._replace(channels=tuple(level.shape[1] for level in levels), strides=strides)


def _feature_info(net: Any) -> list[dict[str, Any]]:
    info = net.feature_info
    return list(info) if isinstance(info, list) else list(info.info)


def _indices(reductions: list[int]) -> tuple[int, ...] | None:
    """Choose intermediates: all of a pyramid; of equal blocks those that end each quarter."""
    n = len(reductions)
    return None if len(set(reductions)) > 1 or n <= 4 else tuple(n * k // 4 - 1 for k in (1, 2, 3, 4))


def _layout(final: Tensor, deepest: Tensor) -> Layout:
    if final.ndim == 3:
        return "tokens"
    return "channels_first" if final.shape[2:] == deepest.shape[2:] else "channels_last"


def _averages(net: Any, final: Tensor) -> bool:
    """Tell whether the part before the classifier is global averaging and nothing else."""
    seen: list[nn.Module] = []
    hooks = [m.register_forward_hook(lambda m, _in, _out: seen.append(m)) for m in net.modules()]
    try:
        pooled = net.forward_head(final, pre_logits=True)
    finally:
        for hook in hooks:
            hook.remove()
    pools = [m for m in seen if isinstance(m, SelectAdaptivePool2d)]
    owners = [m for m in seen if any(True for _ in m.parameters())]
    return pooled.ndim == 2 and not owners and [p.pool_type for p in pools] == ["avg"]


def _create(name: str, options: tuple[tuple[str, Any], ...], *, in_chans: int = 3, drop_path: float = 0.0) -> nn.Module:
    settings = dict(options) | ({"drop_path_rate": drop_path} if drop_path else {})
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_chans, **settings)
    except TypeError as error:
        if not drop_path or "drop_path_rate" not in str(error):
            raise
        raise _no_drop_path(name, drop_path) from error
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "group_matcher"):
        msg = f"timm:{name} cannot give intermediate features or layer groups, so it cannot be an encoder."
        raise ConfigError(msg)
    if drop_path and not any(getattr(m, "drop_prob", None) for m in model.modules()):
        raise _no_drop_path(name, drop_path)
    return model


def _no_drop_path(name: str, rate: float) -> ConfigError:
    return ConfigError(f"drop_path: timm:{name} has no stochastic depth, got {rate:g}. Set it to 0.")


def _check(name: str, dims: int, width: float) -> None:
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        hint = f"Nearest: {', '.join(near)}." if near else "See timm.list_models()."
        msg = f'encoder "timm:{name}": timm {timm.__version__} has no such network. {hint}'
        raise ConfigError(msg)
    if dims != 2:
        msg = f'encoder "timm:{name}" is for dims 2, got dims {dims}. Use one of our ResNet or CBR nets in 3-D.'
        raise ConfigError(msg)
    if width != 1:
        msg = f"width: timm:{name} has one width, got {width:g}. Set it to 1 or take another name."
        raise ConfigError(msg)


def _groups(keys: Iterable[str], matcher: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the stages in order, each with the shortest prefixes that hold its tensors and no others."""
    keys = tuple(keys)
    place = {key: _place(key, matcher) for key in keys}
    order = sorted(set(place.values()))
    blocks = [p for p in order if p[0] == 1]
    names = {p: "stem" if p[0] == 0 else "top" if p[0] == 2 else f"stage{blocks.index(p) + 1}" for p in order}
    return {names[p]: tuple(_prefixes("", keys, lambda key, p=p: place[key] == p)) for p in order}  # type: ignore[misc] # p bound now


def _place(key: str, matcher: Mapping[str, Any]) -> tuple[int, ...]:
    """Return (0,) for the stem, (1, number, ...) for a block, (2,) for what follows the blocks."""
    for group, spec in matcher.items():
        for pattern in [spec] if isinstance(spec, str) else [p for p, _ in spec or ()]:
            found = re.match(pattern, key)
            if found and group == "stem":
                return (0,)
            if found:
                numbers = tuple(int(n) for n in found.groups() if n is not None)
                return (1, *numbers) if numbers else (2,)
    return (2,)


def _prefixes(start: str, keys: tuple[str, ...], inside: Callable[[str], bool]) -> Iterable[str]:
    """Yield the shortest prefixes below `start` whose keys all lie inside."""
    heads = dict.fromkeys(start + key[len(start) :].split(".")[0] for key in keys)
    for head in heads:
        below = tuple(key for key in keys if key == head or key.startswith(head + "."))
        if all(inside(key) for key in below):
            yield head
        elif any(inside(key) for key in below):
            yield from _prefixes(head + ".", below, inside)
