"""Any timm network with `forward_intermediates` as an encoder; the only file that imports timm.

The whole network is built (features_only would drop layers and rename tensors), so its tensors are
`model.` + timm's own names and a timm checkpoint fits by name. The levels are timm's intermediates, the
deepest replaced by the final features, so that averaging the last level gives what timm's own
classifier sees. Where timm pools in another way (class token, layers after the pooling), the pooled
embedding follows as one more level of a single position, with stride 0.

In 3-D the network's layers are replaced by their exact 3-D twins (`inflated`), where it has them.
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
from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.nets.encoders.inflated import Depth, inflated
from allograft.nets.encoders.timm_tokens import leaves_out, seen_tokens
from allograft.nets.network import Stage

__all__ = ["TimmEncoder"]

Layout = Literal["channels_first", "channels_last", "tokens"]


class TimmEncoder(nn.Module):
    """A timm network behind the encoder contract.

    Args:
        name: timm's name, e.g. "tf_efficientnet_lite0"; never downloads anything.
        depth: in 3-D, "cube" (kernels k x k x k) or "slice" (1 x k x k, the depth is never reduced).
        dims: 2, or 3 for the families of `inflated`.
        in_channels: channels of the image.
        width: must be 1; timm's names fix the width.
        drop_path: largest stochastic-depth rate, where the network has it.

    Raises:
        ConfigError: timm does not know the name, the network cannot give intermediates, has no exact
            3-D form, or a setting has no meaning for it.
    """

    def __init__(
        self,
        name: str,
        depth: Depth = "cube",
        *,
        dims: int = 2,
        in_channels: int = 3,
        width: float = 1.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        _check(name, depth, dims, width)
        facts = _facts(name)
        self.name, self.dims, self.in_channels = name, dims, in_channels
        self.channels, self.facts = facts.channels, facts
        self.strides: tuple[int | tuple[int, ...], ...] = facts.strides
        self.model = _create(name, facts.options, in_chans=in_channels, drop_path=drop_path)
        if dims == 3:
            self.model = inflated(self.model, depth, who=f'encoder "timm:{name}"')
        if depth == "slice":
            self.strides = tuple((1, s, s) if s else 0 for s in facts.strides)
        groups = _groups(self.model.state_dict(), cast("Any", self.model).group_matcher(coarse=True))
        self._stages = tuple(Stage(name, tuple(f"model.{p}" for p in group)) for name, group in groups.items())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the levels for images (B, C, *S).

        Raises:
            ConfigError: the network takes images of another size.
        """
        self._check_size(tuple(x.shape[2:]))
        return _levels(self.model, x, self.facts)

    @property
    def token(self) -> int:
        """Side of the patches that the network reads as tokens, if it can leave some out; else 0."""
        return self.facts.strides[0] if self.facts.layout == "tokens" and leaves_out(self.model) else 0

    def seen(self, x: Tensor, kept: Tensor) -> Tensor:
        """Return the final features (B, n, F) of the tokens `kept` (B, n) of images (B, C, *S); no other is read."""
        self._check_size(tuple(x.shape[2:]))
        return seen_tokens(self.model, x, kept)

    def stages(self) -> tuple[Stage, ...]:
        """Return stem, stage1 and so on by timm's own grouping, and top for what follows the blocks."""
        return self._stages

    def _check_size(self, size: tuple[int, ...]) -> None:
        needed, patch = self.facts.only_size, self.facts.strides[0]
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
    return (*levels, pooled.reshape(*pooled.shape[:2], *[1] * (x.ndim - 2)))


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
        averages = _averages(net, final, layout)
        facts = _Facts(options, indices, layout, averages, own if fixed and not options else None)
        levels = _levels(net, x, facts)
    strides = tuple(_stride(name, size, tuple(level.shape[2:])) for level in levels)
    return facts._replace(channels=tuple(level.shape[1] for level in levels), strides=strides)


def _stride(name: str, size: tuple[int, ...], grid: tuple[int, ...]) -> int:
    """Return the stride that turns `size` into `grid`, 0 for a level of one position."""
    if grid == (1, 1):
        return 0
    stride = size[0] // grid[0]
    if tuple(n * stride for n in grid) != size:
        msg = (
            f"timm:{name} turns images of {size} into levels of {grid}, which is not the size divided by a "
            "stride, so it cannot be an encoder. Take another network."
        )
        raise ConfigError(msg)
    return stride


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


def _averages(net: Any, final: Tensor, layout: Layout) -> bool:
    """Tell whether the part before the classifier is global averaging and nothing else.

    No layer with weights may run there; then it can be tried with numbers even on the meta device.
    """
    seen: list[nn.Module] = []
    hooks = [m.register_forward_hook(lambda m, _in, _out: seen.append(m)) for m in net.modules()]
    try:
        net.forward_head(final, pre_logits=True)
    finally:
        for hook in hooks:
            hook.remove()
    if layout == "tokens" or any(True for m in seen for _ in m.parameters()):
        return False
    numbers = torch.linspace(-1, 1, final.numel(), device="cpu").sin().reshape(final.shape)
    with torch.device("cpu"):
        pooled = net.forward_head(numbers, pre_logits=True)
    mean = numbers.mean((2, 3) if layout == "channels_first" else (1, 2))
    return pooled.shape == mean.shape and bool(torch.allclose(pooled, mean, atol=1e-5))


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


def _check(name: str, depth: Depth, dims: int, width: float) -> None:
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        hint = f"Nearest: {', '.join(near)}." if near else "See timm.list_models()."
        msg = f'encoder "timm:{name}": timm {timm.__version__} has no such network. {hint}'
        raise ConfigError(msg)
    if dims not in {2, 3} or (depth == "slice" and dims != 3):
        form = "timm" if depth == "cube" else "timm-slice"
        expected = "2 or 3" if depth == "cube" else f'3; images take "timm:{name}"'
        msg = f'encoder "{form}:{name}": got dims {dims}, expected {expected}.'
        raise ConfigError(msg)
    if width != 1:
        msg = f"width: timm:{name} has one width, got {width:g}. Set it to 1 or take another name."
        raise ConfigError(msg)


Matcher = Mapping[str, Any] | Callable[[str], Any]
"""How timm groups tensors: patterns by group, or a function of the name."""


def _groups(keys: Iterable[str], matcher: Matcher) -> dict[str, tuple[str, ...]]:
    """Return the stages in order, each with the shortest prefixes that hold its tensors and no others."""
    keys = tuple(keys)
    place = {key: _place(key, matcher) for key in keys}
    order = sorted(set(place.values()))
    blocks = [p for p in order if p[0] == 1]
    out = {}
    for p in order:
        name = {0: "stem", 1: f"stage{blocks.index(p) + 1 if p in blocks else 0}", 2: "top"}[p[0]]
        out[name] = tuple(_prefixes("", keys, {key for key in keys if place[key] == p}))
    return out


def _place(key: str, matcher: Matcher) -> tuple[int, ...]:
    """Return (0,) for the stem, (1, number, ...) for a block, (2,) for what follows the blocks."""
    if callable(matcher):
        found = matcher(key)
        numbers = found if isinstance(found, tuple) else (found,)
        return (2,) if math.inf in numbers else (1, *numbers) if any(numbers) else (0,)
    for group, spec in matcher.items():
        for pattern in [spec] if isinstance(spec, str) else [p for p, _ in spec or ()]:
            match = re.match(pattern, key)
            if match and group == "stem":
                return (0,)
            if match:
                digits = tuple(int(n) for n in match.groups() if n is not None)
                return (1, *digits) if digits else (2,)
    return (2,)


def _prefixes(start: str, keys: Iterable[str], inside: set[str]) -> Iterable[str]:
    """Yield the shortest prefixes below `start` whose keys all lie inside."""
    keys = tuple(keys)
    for head in dict.fromkeys(start + key[len(start) :].split(".")[0] for key in keys):
        below = [key for key in keys if key == head or key.startswith(head + ".")]
        if inside.issuperset(below):
            yield head
        elif not inside.isdisjoint(below):
            yield from _prefixes(head + ".", below, inside)
