"""What timm's registry says of its pretrained weights: file, input and licence; nothing is downloaded."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

from timm.models import get_pretrained_cfg, is_model, list_pretrained

from allograft.core.errors import ConfigError

__all__ = ["Pretrained", "pretrained"]


class Pretrained(NamedTuple):
    """One entry of timm's registry.

    Args:
        architecture: timm's name of the network.
        tag: which weights of it, "" where there is one set without a tag.
        hub: repository on the model hub, "" for none.
        file: file in that repository.
        url: address, "" for none.
        input_size: channels, height, width.
        mean: per channel, of values in [0, 1].
        std: per channel.
        classifier: names of the layers that classify.
        license: as timm writes it, "" where it says nothing.
        paper: arXiv number, "" where there is none.
    """

    architecture: str
    tag: str
    hub: str
    file: str
    url: str
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classifier: tuple[str, ...]
    license: str
    paper: str


def pretrained(name: str) -> Pretrained:
    """Return what timm knows of the weights "ARCHITECTURE" (its default ones) or "ARCHITECTURE.TAG".

    Raises:
        ConfigError: timm has no such network or no such weights, with the nearest known names.
    """
    architecture, _, tag = name.partition(".")
    found = get_pretrained_cfg(name, allow_unregistered=False) if name in _known(architecture) else None
    if found is None or not (found.hf_hub_id or found.url):
        near = list_pretrained(f"{architecture}.*") or get_close_matches(name, list_pretrained(), n=5, cutoff=0.4)
        msg = f'weights "timm:{name}": timm has no such pretrained weights. Nearest: {", ".join(near[:8]) or "none"}.'
        raise ConfigError(msg)
    layers = found.classifier or ()
    channels, height, width = found.input_size
    return Pretrained(
        architecture=architecture,
        tag=tag or str(found.tag or ""),
        hub=found.hf_hub_id or "",
        file=found.hf_hub_filename or "model.safetensors",
        url=found.url if isinstance(found.url, str) else "",
        input_size=(int(channels), int(height), int(width)),
        mean=tuple(found.mean),
        std=tuple(found.std),
        classifier=(layers,) if isinstance(layers, str) else tuple(layers),
        license=found.license or "",
        paper=str(found.paper_ids or "").removeprefix("arXiv:"),
    )


def _known(architecture: str) -> tuple[str, ...]:
    """Return the names that timm has weights for: the network's own, and each with a tag."""
    return (architecture, *list_pretrained(f"{architecture}.*")) if is_model(architecture) else ()
