"""Build a network from its spec: the same spec and seed give the same tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from torch import nn

from allograft.core.errors import ConfigError
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.nets.heads.linear import LinearHead
from allograft.nets.network import Encoder, Head, Network
from allograft.nets.spec import NetSpec

__all__ = ["EncoderFactory", "build_network"]


class EncoderFactory(Protocol):
    """Makes an encoder with fresh values from torch's random state."""

    def __call__(self, *, dims: int, in_channels: int, width: float, drop_path: float) -> nn.Module:
        """Return an `Encoder`; a setting that it does not offer is a ConfigError."""


def build_network(
    spec: NetSpec,
    tasks: Mapping[str, Task],
    *,
    in_channels: int,
    seed: int,
    encoder_factory: EncoderFactory,
    device: str | torch.device = "cpu",
) -> Network:
    """Return a network with fresh values; torch's random state is left as it was.

    Values are drawn on the CPU, the encoder's from the names ("init", "encoder", spec.encoder, seed) and
    each head's from ("init", "head", name, seed), so recipes of equal feature width share their heads.

    Args:
        spec: which network.
        tasks: by head name.
        in_channels: channels of the data, taken where the spec leaves them open.
        seed: of the run.
        encoder_factory: the catalog's factory for spec.encoder.
        device: where the tensors go; "meta" builds shapes only.

    Raises:
        ConfigError: no head, a head name that cannot be used, a decoder or a task that needs one.
    """
    _check(spec, tasks)
    device = torch.device(device)
    made_on = torch.device("meta" if device.type == "meta" else "cpu")
    channels = in_channels if spec.in_channels is None else spec.in_channels
    with _drawn_from("init", "encoder", spec.encoder, seed, device=made_on):
        encoder = encoder_factory(dims=spec.dims, in_channels=channels, width=spec.width, drop_path=spec.drop_path)
    features = cast("Encoder", encoder).channels[-1]
    heads: dict[str, Head] = {}
    for name, task in tasks.items():
        with _drawn_from("init", "head", name, seed, device=made_on):
            heads[name] = LinearHead(features, task.outputs, dropout=spec.dropout)
    return Network(encoder, heads).to(device)


@contextmanager
def _drawn_from(*names: str | int, device: torch.device) -> Iterator[None]:
    """Draw new tensors on `device` from a named seed; restore the CPU's random state, leave others alone."""
    with torch.random.fork_rng(devices=[]), device:
        torch.default_generator.manual_seed(seed_for(*names))  # torch.manual_seed would seed every device
        yield


def _check(spec: NetSpec, tasks: Mapping[str, Task]) -> None:
    if spec.decoder:
        msg = f'net.decoder: "{spec.decoder}" is not available; there are no decoders yet. Leave it empty.'
        raise ConfigError(msg)
    if not tasks:
        msg = "a network needs at least one task, its heads come from them."
        raise ConfigError(msg)
    taken = nn.ModuleDict()
    for name, task in tasks.items():
        if task.kind == "segmentation":
            msg = f'task "{name}" is a segmentation, which needs a decoder; there are none yet.'
            raise ConfigError(msg)
        if not name or "." in name or hasattr(taken, name):
            msg = f'head "{name}": this name cannot be used (empty, with a dot, or torch\'s own). Rename it.'
            raise ConfigError(msg)
