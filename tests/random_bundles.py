"""Bundles of networks with random tensors, as if trained: quick, and with answers that vary from element to element."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from allograft.catalog import parts
from allograft.core.input_spec import InputSpec
from allograft.core.task import Task
from allograft.data.normalise import Normaliser
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.infer.bundle import Bundle, save_bundle
from allograft.nets.build import build_network
from allograft.nets.spec import NetSpec
from allograft.weights.source import SourceWeights

__all__ = ["CLASSES", "random_bundle"]

CLASSES = ("background", "bright", "dark")


def random_bundle(folder: Path, *, kind: str, dims: int, seed: int = 0, **changes: Any) -> Path:
    """Write a bundle of a small network; a segmentation has windows of 16. Return its folder."""
    classes = CLASSES[: 2 if kind == "binary" else 3]
    task = Task.model_validate({"kind": kind, "classes": classes})
    dense = kind == "segmentation"
    channels = changes.pop("in_channels", 1)
    spec = {"encoder": "resnet10_small" if dense else "cbr_tiny", "dims": dims, "width": 0.0625 if dense else 0.25}
    anchors = changes.pop("anchors", 0)
    net_spec = NetSpec.model_validate({**spec, "decoder": "unet" if dense else "", "anchors": anchors})
    net = build_network(net_spec, {task.head: task}, in_channels=channels, seed=seed, parts=parts(net_spec))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif name.endswith(("label.gamma", "label.scale")):
                value.fill_(0.3)
            elif name.startswith("heads."):
                value.normal_(std=0.5)
    settings = {
        "preprocess": Preprocess(size=None if dense else (16,) * dims, intensity="standard"),
        "normalise": Normaliser(scale=(0.7 + 0.1 * seed,) * channels, shift=(0.2,) * channels, note="made up"),
        "patches": Patches(size=(16,) * dims) if dense else None,
        "temperature": 1.0 if dense else 1.5 + seed,
        **changes,
    }
    run = f"{seed:016x}"
    bundle = Bundle(
        net=net_spec,
        task=task,
        in_channels=channels,
        size=(16,) * dims,
        run=run,
        licences=("donor: CC-BY-4.0",),
        **settings,
    )
    expects = InputSpec(channels=channels, axes="DHW" if dims == 3 else "HW")
    card = SourceWeights.of(net, f"random-{run}", expects, net_spec.encoder, seen=("made-up",))
    save_bundle(folder, bundle, net, card)
    return folder
