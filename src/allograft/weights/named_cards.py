"""Cards made from a name: any pretrained weights in timm's registry, "timm:NAME" or "timm:NAME.TAG"."""

from __future__ import annotations

import re
from functools import lru_cache

from allograft.core.errors import ConfigError
from allograft.core.input_spec import InputSpec
from allograft.core.reference import Reference
from allograft.weights.card import WeightSource

__all__ = ["timm_card"]

_COMMERCIAL = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc-by-4.0": "CC-BY-4.0"}
"""Licences that allow commercial use, as timm writes them and as they are called; all others are taken not to."""

_SEEN = {
    "in1k": "imagenet-1k",
    "in12k": "imagenet-12k",
    "in21k": "imagenet-21k",
    "in22k": "imagenet-22k",
    "laion2b": "laion-2b",
    "laion400m": "laion-400m",
    "datacompxl": "datacomp-xl",
    "lvd142m": "lvd-142m",
    "lvd1689m": "lvd-1689m",
    "webli": "webli",
    "dfn2b": "dfn-2b",
    "dfn5b": "dfn-5b",
    "inat21": "inat2021",
}
"""What the words of timm's tags say of the data."""


@lru_cache(maxsize=64)
def timm_card(name: str) -> WeightSource:
    """Return the card of timm's weights `name`, all of it from the installed timm; nothing is downloaded.

    Files that need more than the removal of their classifier before they fit (timm converts some while it loads
    them) show as missing and unused tensors in the plan, which then refuses them.

    Args:
        name: "ARCHITECTURE" for timm's default weights or "ARCHITECTURE.TAG", without "timm:".

    Raises:
        ConfigError: timm has no such weights, or their input has not three channels.
    """
    from allograft.nets.encoders.timm_pretrained import pretrained  # timm takes seconds to import

    found = pretrained(name)
    full = ".".join(filter(None, (found.architecture, found.tag)))
    channels, *size = found.input_size
    if channels != 3:
        msg = f'weights "timm:{name}": take {channels} channels, colour images expected. Write a card for them.'
        raise ConfigError(msg)
    heads = tuple((re.escape(layer) + r"\..+", None) for layer in found.classifier)
    return WeightSource(
        name=f"timm:{full}",
        title=f"timm's {found.architecture}" + (f", weights {found.tag}" if found.tag else ""),
        origin=f"hf:{found.hub}@main#{found.file}" if found.hub else found.url,
        license=_COMMERCIAL.get(found.license, found.license or "not stated"),
        commercial=found.license in _COMMERCIAL,
        reference=Reference(
            title=f"The paper of timm's {full}" if found.paper else "PyTorch Image Models", arxiv=found.paper
        ),
        seen=_seen(found.tag),
        encoder=f"timm:{found.architecture}",
        expects=InputSpec(
            channels=3, channel_names=("red", "green", "blue"), mean=found.mean, std=found.std, size=tuple(size)
        ),
        key_map=(*heads, (r"(.+)", r"model.\1")),
    )


def _seen(tag: str) -> tuple[str, ...]:
    """Return the data sets that a tag names, in the order of training; tags of other words say nothing."""
    return tuple(dict.fromkeys(_SEEN[word] for word in re.split(r"[_.]", tag) if word in _SEEN))
