"""Files laid out as the public checkpoints that the cards describe, with synthetic numbers, at the card's width."""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils._pytree import tree_map_only

from allograft.weights.card import WeightSource
from checkpoint_layouts import (
    BLOCKS,
    State,
    by_number,
    contrast,
    data_parallel,
    filled,
    genesis,
    haiku,
    halved,
    moco,
    plain,
    prefixed,
    resnet,
    seg_resnet,
    separius,
    swav,
    training,
)

Net = Callable[[float], State]
Tree = Callable[[State], object]


class Fake(NamedTuple):
    """A written file, and the true state that the encoder (or "decoder.") must have from it."""

    path: Path
    state: State


class Layout(NamedTuple):
    """The network whose tensors a file holds, how the file holds them, how its axes turn, and which it has not."""

    net: Net
    tree: Tree
    turn: tuple[int, ...] = ()
    lacks: str = "\0"
    ours: Callable[[str], str | None] = lambda name: name


@contextlib.contextmanager
def byol_package() -> Iterator[Callable[..., object]]:
    """Let a class of the authors be importable while a file that names it is written, and no longer."""
    fields = "online_params target_params online_state target_state opt_state"
    made = namedtuple("_ByolExperimentState", fields)  # type: ignore[misc]
    made.__module__ = "byol.byol_experiment"
    modules = {name: ModuleType(name) for name in ("byol", "byol.byol_experiment")}
    vars(modules["byol.byol_experiment"])["_ByolExperimentState"] = made
    sys.modules.update(modules)
    try:
        yield made
    finally:
        for name in modules:
            del sys.modules[name]


# Cards.


def net(depth: int, **how: Any) -> Net:
    return partial(resnet, depth, **how)


R50 = net(50)
LAYOUTS: dict[str, Layout] = {
    **{f"resnet{d}-imagenet-v1": Layout(net(d), plain) for d in (18, 34, 50, 101, 152)},
    **{f"resnet{d}-imagenet-v2": Layout(net(d), plain) for d in (50, 101, 152)},
    "resnet50-moco-v1": Layout(R50, partial(moco, layers=1, queue=1024)),
    "resnet50-moco-v2": Layout(R50, partial(moco, layers=2, queue=1024)),
    "resnet50-pcl-v1": Layout(R50, partial(moco, layers=1, queue=512)),
    "resnet50-pcl-v2": Layout(R50, partial(moco, layers=2, queue=512)),
    "resnet50-insdis": Layout(R50, partial(contrast, layers=1, jigsaw=False)),
    "resnet50-pirl": Layout(R50, partial(contrast, layers=1, jigsaw=True)),
    "resnet50-infomin": Layout(R50, partial(contrast, layers=2, jigsaw=True)),
    "resnet50-swav": Layout(R50, partial(swav, prototypes=("prototypes",))),
    "resnet50-sela-v2": Layout(R50, partial(swav, prototypes=tuple(f"prototypes.prototypes{i}" for i in range(3)))),
    "resnet50-deepcluster-v2": Layout(R50, partial(swav, prototypes=("prototypes.prototypes0",))),
    "resnet50-barlow-twins": Layout(R50, partial(plain, fc="")),
    "resnet50-simclr-v1": Layout(R50, lambda state: {"state_dict": plain(state)}),
    "resnet50-simclr-v2": Layout(R50, separius),
    "resnet50-byol": Layout(R50, haiku, lacks="num_batches_tracked"),
    "resnet50-inat2021": Layout(R50, lambda state: training(plain(state, classes=10000))),
    "resnet50-inat2021-mini": Layout(R50, partial(data_parallel, classes=10000)),
    "resnet50-chestxray14": Layout(R50, lambda state: training(plain(state, fc="fc.0", classes=14))),
    "resnet50-chexpert": Layout(R50, partial(data_parallel, classes=14)),
    "resnet50-imagenet-chestxray14": Layout(R50, lambda state: training(plain(state, fc="fc.0", classes=14))),
    "resnet50-imagenet-chexpert": Layout(R50, partial(data_parallel, classes=14)),
    "resnet50-radimagenet": Layout(R50, by_number),
    "astra-ct": Layout(
        net(152, dims=3, stem=3), lambda state: {"state_dict": {n: halved(t) for n, t in state.items()}}, (0, 2, 1)
    ),
    "genesis-chest-ct": Layout(
        genesis,
        lambda state: training(prefixed(state, "module.")),
        (2, 1, 0),
        ours=lambda name: None if name[:3] == "out" else f"decoder.{name}" if name[:2] == "up" else name,
    ),
    "monai-brats-segresnet": Layout(
        seg_resnet, dict, (2, 1, 0), ours=lambda name: None if name.startswith("conv_final.2.") else f"model.{name}"
    ),
}
for _depth in BLOCKS:
    _free = _depth in {18, 34}
    LAYOUTS[f"medicalnet{_depth}"] = Layout(
        net(_depth, dims=3, inputs=1, free=_free), partial(data_parallel, classes=0)
    )
    if _depth <= 50:
        LAYOUTS[f"medicalnet{_depth}-23datasets"] = LAYOUTS[f"medicalnet{_depth}"]
    if _depth > 10:
        LAYOUTS[f"kinetics{_depth}"] = Layout(net(_depth, dims=3, free=_free), partial(data_parallel, classes=400))


def fake_file(card: WeightSource, folder: Path) -> Fake:
    """Write a synthetic file laid out as the real one of a card, at the card's width; "timm:NAME" works too.

    Args:
        card: a card of `LAYOUTS`, or made from timm's registry. Its key map is not read.
        folder: where the file goes.
    """
    path = folder / f"{card.name.replace(':', '-')}.pth"
    if card.name.startswith("timm:"):
        return _timm_file(card, path)
    layout = LAYOUTS[card.name]
    state = layout.net(card.width)
    tree: Any = tree_map_only(Tensor, Tensor.contiguous, layout.tree(state))
    if layout.tree is haiku:
        with byol_package() as made, path.open("wb") as file:
            pickle.dump({**tree, "experiment_state": made(*tree["experiment_state"])}, file, protocol=2)
    else:
        torch.save(tree, path)
    return Fake(path, true_state(layout, state, half=card.name == "astra-ct"))


def true_state(layout: Layout, state: State, *, half: bool = False) -> State:
    """Return what the encoder must hold: its own names, kernels turned, numbers as the file's type keeps them."""
    kept = {new: t for name, t in state.items() if (new := layout.ours(name)) and layout.lacks not in name}
    order = (0, 1, *(axis + 2 for axis in layout.turn))
    turned = {name: t.permute(order) if layout.turn and t.ndim == 5 else t for name, t in kept.items()}
    return {n: halved(t).to(t.dtype) if half else t for n, t in turned.items()}


def _timm_file(card: WeightSource, path: Path) -> Fake:
    """timm's own network names the tensors, classifier included, as on the hub."""
    import timm

    with torch.device("meta"):
        model = timm.create_model(card.encoder.removeprefix("timm:"), pretrained=False)
    state = {name: filled(name, tuple(t.shape)).contiguous() for name, t in model.state_dict().items()}
    save_file(state, path.with_suffix(".safetensors"))
    config: Any = model.pretrained_cfg
    gone = {name for name in state if name.startswith(f"{config['classifier']}.")}
    return Fake(path.with_suffix(".safetensors"), {f"model.{n}": t for n, t in state.items() if n not in gone})
