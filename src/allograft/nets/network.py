"""Network: encoder, optional decoder and named heads, with every tensor in exactly one stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, cast, runtime_checkable

from torch import Tensor, nn

__all__ = ["Encoder", "Head", "Network", "Output", "Stage", "parameter_count", "stage_of"]


class Stage(NamedTuple):
    """A named part of a network: "stem", "stage1", ..., "decoder", "head.lesion".

    Args:
        name: the stage's name.
        prefixes: names of the tensors or modules that belong to it.
    """

    name: str
    prefixes: tuple[str, ...]


class Output(NamedTuple):
    """What a network gives: levels (B, c_i, *S/s_i), pooled (B, F), logits by head (B, O[, *S])."""

    levels: tuple[Tensor, ...]
    pooled: Tensor
    logits: dict[str, Tensor]


@runtime_checkable
class Encoder(Protocol):
    """An nn.Module that turns (B, C, *S) into levels from shallow to deep.

    Stride 0 marks a level of one position (an embedding that the network pools in its own way); a
    decoder leaves it out. Strides are exact for sizes that the largest one divides.
    """

    dims: int
    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the levels, each (B, channels[i], *S / strides[i])."""

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages from input to output."""


class Head(nn.Module):
    """Turns features into logits; `pooled` (B, F) and, behind a decoder, `decoded` (B, C, *S)."""

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        """Return logits (B, O) or (B, O, *S)."""
        raise NotImplementedError


class Network(nn.Module):
    """An encoder, an optional decoder and named heads.

    Args:
        encoder: an `Encoder`.
        heads: by name.
        decoder: maps levels to (B, C, *S), None for classification.

    Attributes:
        encoder_name: catalog name of the encoder, set by whoever builds the network; "" where unknown.
    """

    encoder_name: str = ""

    def __init__(self, encoder: nn.Module, heads: Mapping[str, Head], decoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.heads = nn.ModuleDict(dict(heads))

    @property
    def shape(self) -> Encoder:
        """The encoder seen as its contract: dims, in_channels, channels, strides, stages."""
        return cast("Encoder", self.encoder)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder's levels for images (B, C, *S)."""
        return cast("tuple[Tensor, ...]", self.encoder(x))

    def decode(self, levels: tuple[Tensor, ...]) -> Output:
        """Return decoder and head outputs for levels; the last level is pooled over space."""
        pooled = levels[-1].flatten(2).mean(2)
        decoded = None if self.decoder is None else self.decoder(levels)
        logits = {name: head(pooled, decoded) for name, head in self.heads.items()}
        return Output(levels, pooled, logits)

    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Output:
        """Return decode(encode(x)); levels made before (feature cache) are only decoded."""
        return self.decode(self.encode(x) if isinstance(x, Tensor) else x)

    def compact(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the smallest levels that `decode` treats alike: what the feature cache keeps."""
        if self.decoder is not None:
            return levels
        last = levels[-1]
        return (last.flatten(2).mean(2).reshape(*last.shape[:2], *[1] * (last.ndim - 2)),)

    def stages(self) -> tuple[Stage, ...]:
        """Return all stages, input to output, prefixes as in `state_dict()`."""
        own = [Stage(s.name, tuple(f"encoder.{p}" for p in s.prefixes)) for s in self.shape.stages()]
        if self.decoder is not None:
            own.append(Stage("decoder", ("decoder",)))
        own += [Stage(f"head.{name}", (f"heads.{name}",)) for name in self.heads]
        return tuple(own)


def stage_of(key: str, stages: tuple[Stage, ...]) -> str:
    """Return the name of the one stage that holds the tensor `key`.

    Raises:
        ValueError: none or several stages hold it (a fault of the encoder).
    """
    found = [s.name for s in stages if any(key == p or key.startswith(p + ".") for p in s.prefixes)]
    if len(found) != 1:
        msg = f"tensor {key} lies in {len(found)} stages ({found}); each tensor must lie in exactly one."
        raise ValueError(msg)
    return found[0]


def parameter_count(module: nn.Module) -> int:
    """Return the number of trainable numbers."""
    return sum(p.numel() for p in module.parameters())
