"""A source on disk: a tiny network's tensors, made unlike any initial value, in a safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.testing.tiny import tiny_net
from allograft.weights.source import SourceWeights, WeightSource


def trained_net(dims: int, **options: Any) -> Network:
    """Return a tiny network whose tensors all differ from initial values, as after training (synthetic)."""
    net = tiny_net(dims, seed=77, **options)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.fill_(123)
            elif name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            else:
                value.add_(0.3 * torch.randn(value.shape, generator=generator) + 0.05)
    return net


def tiny_source(folder: Path, net: Network, *, prefix: str = "", heads: bool = False, **card: Any) -> SourceWeights:
    """Save a network's encoder (and decoder; heads if asked for) and open it as a source."""
    state = {}
    for key, value in net.state_dict().items():
        if key.startswith("heads.") and not heads:
            continue
        state[prefix + key.removeprefix("encoder.")] = value.detach().contiguous()
    path = folder / "tiny.safetensors"
    save_file(state, path)
    described = {
        "name": "tiny",
        "title": "a tiny network",
        "origin": f"file:{path}",
        "license": "own",
        "commercial": True,
        "reference": Reference(title="own"),
        "encoder": "tiny",
        "dims": net.shape.dims,
        **card,
    }
    return SourceWeights.open(WeightSource.model_validate(described), path)
