"""Networks whose answer is known: the class of an element is how many thresholds its value exceeds."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from allograft.core.task import Task
from allograft.data.normalise import Normaliser
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.infer.bundle import Bundle
from allograft.nets.build import Parts, build_network
from allograft.nets.decoders.same import Same
from allograft.nets.network import Stage
from allograft.nets.spec import NetSpec

LOW, HIGH = -2048.0, 6144.0


class Identity(nn.Module):
    """An encoder that hands on its input."""

    def __init__(self, *, dims: int, in_channels: int, width: float = 1.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.dims, self.in_channels = dims, in_channels
        self.channels, self.strides = (in_channels,), (1,)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return (x * self.weight,)

    def stages(self):
        return (Stage("stem", ("weight",)),)


def parts(spec):
    """Return what builds the networks here, as the catalog's `parts` does for others."""
    return Parts(Identity, Same)


def threshold_bundle(folder: Path, thresholds, *, dims=3, channels=1, scale=1.0, shift=0.0, run="0" * 16, **fields):
    """Write a bundle that labels an element with the number of `thresholds` (ascending) below its first channel.

    The network itself sees value / (HIGH - LOW) * scale + shift; its head undoes that.
    """
    names = tuple(f"above {k}" for k in range(1, len(thresholds) + 1))
    task = Task(kind="segmentation", classes=("background", *names))
    spec = NetSpec(encoder="identity", decoder="same", dims=dims)
    net = build_network(spec, {"label": task}, in_channels=channels, seed=0, parts=Parts(Identity, Same))
    at = [(t - LOW) / (HIGH - LOW) * scale + shift for t in thresholds]
    head = net.heads["label"].conv
    with torch.no_grad():
        head.weight.zero_()
        head.weight[:, 0] = (torch.arange(len(at) + 1.0) * 4096 / scale).reshape(-1, *[1] * dims)
        head.bias[:] = torch.tensor([0.0, *(-sum(at[: k + 1]) * 4096 / scale for k in range(len(at)))])
    bundle = Bundle(
        net=spec,
        task=task,
        in_channels=channels,
        normalise=Normaliser(scale=(scale,) * channels, shift=(shift,) * channels),
        size=(8,) * dims,
        run=run,
        **{
            "preprocess": Preprocess(intensity="window", low=LOW, high=HIGH),
            "patches": Patches(size=(8,) * dims, overlap=0.25, batch=16),
            **fields,
        },
    )
    folder.mkdir(parents=True)
    save_file(net.state_dict(), folder / "model.safetensors")
    (folder / "bundle.json").write_text(bundle.model_dump_json())
    return folder


def labels_by_hand(array, thresholds):
    """Return the label of each value, uint8."""
    return sum((array > t).astype("uint8") for t in thresholds)
