"""Build a network from its spec: the same spec and seed give the same tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol, cast

import torch
from torch import nn

from allograft.core.errors import ConfigError
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.nets.encoders.cut import cut
from allograft.nets.heads.linear import LinearHead
from allograft.nets.heads.slices import PooledSlices
from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.network import Decoder, Encoder, Head, Network, axis_strides
from allograft.nets.spec import NetSpec

__all__ = ["DecoderFactory", "EncoderFactory", "Parts", "build_network"]


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
) -> Network:
    """Return a network with fresh values; torch's random state is left as it was.

    Values are drawn on the CPU, the encoder's from the names ("init", "encoder", spec.encoder, seed), the
    decoder's from ("init", "decoder", spec.decoder, seed) and each head's from ("init", "head", name, seed),
    so recipes of equal feature width share their heads.

    Args:
        spec: which network.
        tasks: by head name.
        in_channels: channels of the data, taken where the spec leaves them open.
        seed: of the run.
        parts: what builds encoder and decoder, `catalog.parts(spec)`.
        device: where the tensors go; "meta" builds shapes only.

    Raises:
        ConfigError: no head, a head name that cannot be used, or a segmentation without a decoder.
    """
    _check(spec, tasks, parts)
    device = torch.device(device)
    made_on = torch.device("meta" if device.type == "meta" else "cpu")
    channels = in_channels if spec.in_channels is None else spec.in_channels
    with _drawn_from("init", "encoder", spec.encoder, seed, device=made_on):
        encoder = parts.encoder(dims=spec.dims, in_channels=channels, width=spec.width, drop_path=spec.drop_path)
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
    net = Network(encoder, heads, decoder)
    net.tasks = dict(tasks)
    return net.to(device)


def _head(task: Task, encoder: Encoder, decoder: nn.Module | None, spec: NetSpec) -> Head:
    """Return the head that the kind of task needs."""
    if task.kind == "segmentation":
        assert decoder is not None, "checked before"
        return PointwiseHead(encoder.dims, cast("Decoder", decoder).channels, task.outputs, dropout=spec.dropout)
    if spec.pool == "mean":
        return LinearHead(encoder.channels[-1], task.outputs, dropout=spec.dropout)
    depth = axis_strides(encoder)[-1][0]
    if encoder.dims != 3 or depth != 1:
        has = (
            "images have none" if encoder.dims != 3 else f'"{spec.encoder}" divides the depth by {depth or "all of it"}'
        )
        msg = (
            f'net.pool: "{spec.pool}" pools single slices of volumes; {has}. Use an encoder that keeps slices apart '
            'in 3-D, like "resnet18_slice" or "timm-slice:NAME", or pool: mean.'
        )
        raise ConfigError(msg)
    return PooledSlices(encoder.channels[-1], task.outputs, pool=spec.pool, kind=task.kind, dropout=spec.dropout)


@contextmanager
def _drawn_from(*names: str | int, device: torch.device) -> Iterator[None]:
    """Draw new tensors on `device` from a named seed; restore the CPU's random state, leave others alone."""
    with torch.random.fork_rng(devices=[]), device:
        torch.default_generator.manual_seed(seed_for(*names))  # torch.manual_seed would seed every device
        yield


def _check(spec: NetSpec, tasks: Mapping[str, Task], parts: Parts) -> None:
    assert bool(spec.decoder) == (parts.decoder is not None), "the factory is the catalog's for spec.decoder"
    if not tasks:
        msg = "a network needs at least one task, its heads come from them."
        raise ConfigError(msg)
    dense = [name for name, task in tasks.items() if task.kind == "segmentation"]
    if dense and not spec.decoder:
        msg = f'task "{dense[0]}" is a segmentation, which needs a decoder: set net.decoder, for example "unet".'
        raise ConfigError(msg)
    if spec.decoder and not dense:
        msg = f'net.decoder: "{spec.decoder}" does nothing where no task is a segmentation. Leave it empty.'
        raise ConfigError(msg)
    if spec.pool != "mean" and len(dense) == len(tasks):
        msg = f'net.pool: "{spec.pool}" does nothing in a segmentation, every element is judged. Leave it out.'
        raise ConfigError(msg)
    taken = nn.ModuleDict()
    for name in tasks:
        if not name or "." in name or hasattr(taken, name):
            msg = f'head "{name}": this name cannot be used (empty, with a dot, or torch\'s own). Rename it.'
            raise ConfigError(msg)
