"""Build a network from its spec: the same spec and seed give the same tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, cast

import torch
from torch import nn

from allograft.core.errors import ConfigError
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.nets.bags import Bagging
from allograft.nets.encoders.cut import cut
from allograft.nets.heads.instances import BagPool, Pooled, PooledInstances
from allograft.nets.heads.kernel import KernelHead
from allograft.nets.heads.kernel_voxel import KernelVoxelHead
from allograft.nets.heads.linear import LinearHead
from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.network import Decoder, Encoder, Head, Network, axis_strides
from allograft.nets.spec import COUNTED, SHARPNESS, NetSpec

__all__ = ["DecoderFactory", "EncoderFactory", "Parts", "build_network"]

SLICEWISE = {
    "slice_mean": Pooled("mean", "instance"),
    "slice_max": Pooled("max", "instance"),
    "slice_attention": Pooled("gated_attention", "embedding"),
}
"""Poolings of an encoder that keeps the slices of a volume apart."""


class EncoderFactory(Protocol):
    """Makes an encoder with fresh values from torch's random state."""

    def __call__(self, *, dims: int, in_channels: int, width: float, drop_path: float) -> nn.Module:
        """Return an `Encoder`; a setting that it does not offer is a ConfigError."""


class DecoderFactory(Protocol):
    """Makes a decoder with fresh values from torch's random state."""

    def __call__(self, encoder: Encoder) -> nn.Module:
        """Return a `Decoder` for the levels of `encoder`; levels that do not suit it are a ConfigError."""


class Parts(NamedTuple):
    """What builds the parts of a network that a spec names; `decoder` is None where the spec names none."""

    encoder: EncoderFactory
    decoder: DecoderFactory | None = None


def build_network(
    spec: NetSpec,
    tasks: Mapping[str, Task],
    *,
    in_channels: int,
    seed: int,
    parts: Parts,
    device: str | torch.device = "cpu",
    channel_names: Sequence[str] = (),
) -> Network:
    """Return a network with fresh values; torch's random state is left as it was.

    Values are drawn on the CPU, the encoder's from the names ("init", "encoder", spec.encoder, seed), the
    decoder's from ("init", "decoder", spec.decoder, seed) and each head's from ("init", "head", name, seed),
    so recipes of equal feature width share their heads.

    Args:
        spec: which network.
        tasks: by head name; none makes an encoder without heads.
        in_channels: channels of the data, taken where the spec leaves them open.
        seed: of the run.
        parts: what builds encoder and decoder, `catalog.parts(spec)`.
        device: where the tensors go; "meta" builds shapes only.
        channel_names: what the data's channels mean; weights are then adapted to them by name.

    Raises:
        ConfigError: a head name that cannot be used, or a segmentation without a decoder.
    """
    _check(spec, tasks, parts)
    device = torch.device(device)
    made_on = torch.device("meta" if device.type == "meta" else "cpu")
    channels = in_channels if spec.in_channels is None else spec.in_channels
    with _drawn_from("init", "encoder", spec.encoder, seed, device=made_on):
        seen = 2 if spec.bag is not None and spec.bag.of == "slices" else spec.dims
        encoder = parts.encoder(dims=seen, in_channels=channels, width=spec.width, drop_path=spec.drop_path)
    if spec.until:
        encoder = cut(encoder, spec.until, who=f'encoder "{spec.encoder}"')
    shape = cast("Encoder", encoder)
    decoder = None
    if parts.decoder is not None:
        with _drawn_from("init", "decoder", spec.decoder, seed, device=made_on):
            decoder = parts.decoder(shape)
    heads: dict[str, Head] = {}
    for name, task in tasks.items():
        with _drawn_from("init", "head", name, seed, device=made_on):
            heads[name] = _head(task, shape, decoder, spec)
    bag = None if spec.bag is None else Bagging(spec.bag.tile(spec.dims), skip_blank=spec.bag.skip_blank)
    net = Network(encoder, heads, decoder, bag)
    net.tasks = dict(tasks)
    net.channel_names = tuple(channel_names) if len(channel_names) == channels else ()
    return net.to(device)


def _head(task: Task, encoder: Encoder, decoder: nn.Module | None, spec: NetSpec) -> Head:
    """Return the head that the kind of task needs."""
    if task.dense:
        assert decoder is not None, "checked before"
        outputs = encoder.in_channels if task.kind == "restoration" else task.outputs
        if spec.anchors:
            return KernelVoxelHead(cast("Decoder", decoder).channels, outputs, spec.anchors)
        return PointwiseHead(encoder.dims, cast("Decoder", decoder).channels, outputs, dropout=spec.dropout)
    pooled = _pooled(spec, encoder)
    width, outputs = encoder.channels[-1], task.outputs
    if pooled is None and spec.anchors:
        return KernelHead(width, outputs, spec.anchors)
    if pooled is None:
        return LinearHead(width, outputs, dropout=spec.dropout)
    return PooledInstances(width, outputs, pool=pooled, kind=task.kind, dropout=spec.dropout)


def _pooled(spec: NetSpec, encoder: Encoder) -> Pooled | None:
    """Return how instances are pooled; None where the whole image is judged at once."""
    if spec.bag is not None:
        r, k = spec.bag.r or SHARPNESS, spec.bag.k or COUNTED
        return Pooled(cast("BagPool", spec.pool), spec.bag.level, r, k)
    if spec.pool == "mean":
        return None
    depth = axis_strides(encoder)[-1][0]
    if encoder.dims != 3 or depth != 1:
        has = (
            "images have none" if encoder.dims != 3 else f'"{spec.encoder}" divides the depth by {depth or "all of it"}'
        )
        msg = (
            f'net.pool: "{spec.pool}" pools single slices of volumes; {has}. Use an encoder that keeps slices apart '
            'in 3-D, like "resnet18_slice" or "timm-slice:NAME", or any encoder with bag: {of: slices}.'
        )
        raise ConfigError(msg)
    return SLICEWISE[spec.pool]


@contextmanager
def _drawn_from(*names: str | int, device: torch.device) -> Iterator[None]:
    """Draw new tensors on `device` from a named seed; restore the CPU's random state, leave others alone."""
    with torch.random.fork_rng(devices=[]), device:
        torch.default_generator.manual_seed(seed_for(*names))  # torch.manual_seed would seed every device
        yield


def _check(spec: NetSpec, tasks: Mapping[str, Task], parts: Parts) -> None:
    assert bool(spec.decoder) == (parts.decoder is not None), "the factory is the catalog's for spec.decoder"
    dense = [name for name, task in tasks.items() if task.dense]
    if dense and not spec.decoder:
        kind = tasks[dense[0]].kind
        msg = f'task "{dense[0]}" is a {kind}, which needs a decoder: set net.decoder, for example "unet".'
        raise ConfigError(msg)
    if spec.decoder and not dense:
        msg = f'net.decoder: "{spec.decoder}" does nothing where no task is a segmentation. Leave it empty.'
        raise ConfigError(msg)
    if spec.bag is not None and dense:
        msg = f'net.bag: an image cut into {spec.bag.of} is judged as a whole, "{dense[0]}" by element. Leave it out.'
        raise ConfigError(msg)
    if spec.pool != "mean" and tasks and len(dense) == len(tasks):
        msg = f'net.pool: "{spec.pool}" does nothing in a segmentation, every element is judged. Leave it out.'
        raise ConfigError(msg)
    taken = nn.ModuleDict()
    for name in tasks:
        if not name or "." in name or hasattr(taken, name):
            msg = f'head "{name}": this name cannot be used (empty, with a dot, or torch\'s own). Rename it.'
            raise ConfigError(msg)
