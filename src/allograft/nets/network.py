"""Network: encoder, optional decoder and named heads, with every tensor in exactly one stage."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.nets.bags import Bagging
from allograft.nets.mil_pooling import mean

__all__ = [
    "Decoder",
    "Encoder",
    "Head",
    "InstanceHead",
    "Network",
    "Output",
    "Pyramid",
    "Stage",
    "TokenEncoder",
    "VoxelHead",
    "axis_strides",
    "parameter_count",
    "stage_of",
]


class Stage(NamedTuple):
    """A named part of a network: "stem", "stage1", ..., "decoder", "head.lesion".

    Args:
        name: the stage's name.
        prefixes: names of the tensors or modules that belong to it.
    """

    name: str
    prefixes: tuple[str, ...]


class Output(NamedTuple):
    """What a network gives: levels (B, c_i, *S/s_i), pooled (B, F), logits by head (B, O[, *S]).

    `decoded` are the decoder's features, coarse to fine, the last (B, C, *S); only a `Pyramid` has more than one.
    """

    levels: tuple[Tensor, ...]
    pooled: Tensor
    logits: dict[str, Tensor]
    decoded: tuple[Tensor, ...] = ()


@runtime_checkable
class Encoder(Protocol):
    """An nn.Module that turns (B, C, *S) into levels from shallow to deep.

    Stride 0 marks a level of one position (an embedding that the network pools in its own way); a
    decoder leaves it out. Strides are exact for sizes that the largest one divides. A stride is one
    number for all axes, or one for each axis, slowest first (kernels of depth 1 keep the depth).
    """

    dims: int
    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[int | tuple[int, ...], ...]

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the levels, each (B, channels[i], *S / strides[i])."""

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages from input to output."""


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder that, where `token` > 0, reads patches of an image without the others: a vision transformer."""

    @property
    def token(self) -> int:
        """Side of its patches along each axis; 0 where it always reads whole images."""

    def seen(self, x: Tensor, kept: Tensor) -> Tensor:
        """Return features (B, n, F) of the patches `kept` (B, n), numbered in raster order, of images (B, C, *S)."""


def axis_strides(encoder: Encoder) -> tuple[tuple[int, ...], ...]:
    """Return the stride of each level along each axis, slowest first."""
    return tuple((s,) * encoder.dims if isinstance(s, int) else s for s in encoder.strides)


@runtime_checkable
class Decoder(Protocol):
    """An nn.Module that turns an encoder's levels into features of every element of the image.

    The image's size is that of the first level times its stride.
    """

    channels: int

    def __call__(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return (B, channels, *S) on the grid of the image."""


@runtime_checkable
class Pyramid(Decoder, Protocol):
    """A decoder that shows its steps on the way up; `widths` are their channels, the last is `channels`."""

    widths: tuple[int, ...]

    def pyramid(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the features of every step, coarse to fine; the last is what calling it gives."""


class Head(nn.Module):
    """Turns features into logits; `pooled` (B, F) and, behind a decoder, `decoded` (B, C, *S)."""

    def forward(self, pooled: Tensor, decoded: Tensor | None) -> Tensor:
        """Return logits (B, O) or (B, O, *S)."""
        raise NotImplementedError


class VoxelHead(Head):
    """A head that classifies every element by a linear map of its decoded features alone.

    Being linear, it may act on features that were blended over windows or passes: the logits are
    then exactly the blended logits.
    """

    def project(self, decoded: Tensor) -> Tensor:
        """Return logits (B, O, *S) for features (B, C, *S)."""
        raise NotImplementedError


class InstanceHead(Head):
    """A head that judges an image by the features of its parts, slices or tiles; there is no decoder."""

    def over_instances(self, instances: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits (B, O) for the features (B, F, K) of K instances; only those in the mask (B, K) count."""
        raise NotImplementedError


class Network(nn.Module):
    """An encoder, an optional decoder and named heads.

    Args:
        encoder: an `Encoder`.
        heads: by name.
        decoder: maps levels to (B, C, *S), None for classification.
        bag: cuts images into instances that the encoder sees one by one; the encoder is then one of instances
            (of slices a 2-D one), and levels have an axis of instances, (B, c, K, *s). None shows it whole images.

    Attributes:
        encoder_name: catalog name of the encoder, set by whoever builds the network; "" where unknown.
        tasks: what each head predicts, set by whoever builds the network; empty where unknown.
        channel_names: what the channels of its images mean, in order, set likewise; empty where unknown.
    """

    encoder_name: str = ""
    tasks: Mapping[str, Task] = MappingProxyType({})
    channel_names: tuple[str, ...] = ()

    def __init__(
        self,
        encoder: nn.Module,
        heads: Mapping[str, Head],
        decoder: nn.Module | None = None,
        bag: Bagging | None = None,
    ) -> None:
        super().__init__()
        self.bag = bag
        self.encoder = encoder
        self.decoder = decoder
        self.heads = nn.ModuleDict(dict(heads))

    @property
    def shape(self) -> Encoder:
        """The encoder seen as its contract: dims, in_channels, channels, strides, stages."""
        return cast("Encoder", self.encoder)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder's levels for images (B, C, *S).

        Raises:
            ConfigError: there is a decoder and the size is no multiple of the largest stride, so that the
                levels would not lie on the image's grid.
        """
        if self.decoder is not None:
            _check_size(tuple(x.shape[2:]), self.shape)
        if self.bag is not None:
            return self.bag.encode(self.encoder, x)
        return cast("tuple[Tensor, ...]", self.encoder(x))

    def dense(self, x: Tensor) -> Tensor:
        """Return the decoder's features (B, C, *S) of images (B, c, *S); a `VoxelHead` projects them to logits."""
        assert self.decoder is not None, "a network without a decoder has no dense features"
        return cast("Tensor", self.decoder(self.encode(x)))

    def decode(self, levels: tuple[Tensor, ...]) -> Output:
        """Return decoder and head outputs for levels; the last level is pooled over space."""
        instances, mask = self.instances(levels) if self.by_instance else (None, None)
        pooled = levels[-1].flatten(2).mean(2) if mask is None or instances is None else mean(instances, mask)
        steps = self._decoded(levels)
        decoded = steps[-1] if steps else None
        logits = {}
        for name, head in self.heads.items():
            if isinstance(head, InstanceHead):
                assert instances is not None, "its features were just made"
                logits[name] = head.over_instances(instances, mask)
            else:
                logits[name] = head(pooled, decoded)
        return Output(levels, pooled, logits, steps)

    def _decoded(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the decoder's features, the last on the image's grid; none without a decoder."""
        if self.decoder is None:
            return ()
        return self.decoder.pyramid(levels) if isinstance(self.decoder, Pyramid) else (self.decoder(levels),)

    @property
    def by_instance(self) -> bool:
        """Whether a head looks at the parts of an image, slices or tiles."""
        return any(isinstance(head, InstanceHead) for head in self.heads.values())

    def instances(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        """Return the features (B, F, K) of the instances that a head looks at, and which of them count."""
        found = levels[-1].flatten(3).mean(3)
        return found, None if self.bag is None else self.bag.mask(found)

    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Output:
        """Return decode(encode(x)); levels made before (feature cache) are only decoded."""
        return self.decode(self.encode(x) if isinstance(x, Tensor) else x)

    def compact(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the smallest levels that `decode` treats alike: what the feature cache keeps."""
        if self.decoder is not None:
            return levels
        last = levels[-1]
        if self.by_instance:
            return (self.instances(levels)[0].reshape(*last.shape[:3], *[1] * (last.ndim - 3)),)
        return (last.flatten(2).mean(2).reshape(*last.shape[:2], *[1] * (last.ndim - 2)),)

    def alone(self, head: str) -> Network:
        """Return the network of one head: the same modules, without the other heads and a decoder that it needs not."""
        task = self.tasks[head]
        found = Network(
            self.encoder, {head: cast("Head", self.heads[head])}, self.decoder if task.dense else None, self.bag
        )
        found.encoder_name, found.tasks, found.channel_names = self.encoder_name, {head: task}, self.channel_names
        return found

    def stages(self) -> tuple[Stage, ...]:
        """Return all stages, input to output, prefixes as in `state_dict()`."""
        own = [Stage(s.name, tuple(f"encoder.{p}" for p in s.prefixes)) for s in self.shape.stages()]
        if self.decoder is not None:
            own += _decoder_stages(self.decoder)
        own += [Stage(f"head.{name}", (f"heads.{name}",)) for name in self.heads]
        return tuple(own)


def _decoder_stages(decoder: nn.Module) -> tuple[Stage, ...]:
    """Return the decoder's stage; layers that it names in `task_layers` belong to the task, like a head."""
    layers: tuple[str, ...] = getattr(decoder, "task_layers", ())
    if not layers:
        return (Stage("decoder", ("decoder",)),)
    kept = tuple(f"decoder.{name}" for name, _ in decoder.named_children() if name not in layers)
    return Stage("decoder", kept), Stage("head.decoder", tuple(f"decoder.{name}" for name in layers))


def _check_size(size: tuple[int, ...], encoder: Encoder) -> None:
    largest = tuple(max(1, *along) for along in zip(*axis_strides(encoder), strict=True))
    if len(size) != encoder.dims or any(n % stride for n, stride in zip(size, largest, strict=True)):
        msg = (
            f"images of size {size}: the decoder needs multiples of {largest}, the encoder's largest stride along "
            "each axis. Choose such a patch size."
        )
        raise ConfigError(msg)


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
