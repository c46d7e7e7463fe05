"""The public checkpoints that the cards describe, typed after their authors' code: tensors' names and shapes, and how a
file holds them.

All of it runs forward, from torchvision's names to theirs. No key map of a card is read, so that a wrong one cannot
make its own test pass. The numbers are synthetic: tensors are overlapping views of short random rows, so that networks
of 500 MB cost nothing where only shapes are looked at, and exchanged axes or tensors differ all the same.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

State = dict[str, Tensor]

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
BLOCKS |= {101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}


def filled(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return numbers that depend on the name and differ along every axis; variances are positive."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.tensor(int(random.integers(1, 10**6)))
    strides = (1, 3, 7, 13, 29)[: len(shape)]
    row = random.normal(size=1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))).astype(np.float32)
    row = np.abs(row) + np.float32(0.1) if name.endswith("running_var") else row
    return torch.from_numpy(row).as_strided(shape, strides)


# Networks: torchvision's names and shapes.


def batch_norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var"))
    yield f"{name}.num_batches_tracked", ()


def resnet(depth: int, width: float, *, dims: int = 2, inputs: int = 3, stem: int = 7, free: bool = False) -> State:
    """Return a residual network's tensors; `free`: shortcuts have none (type A); `stem`: its kernel's depth in 3-D."""
    base, wide = int(64 * width), 1 if depth < 50 else 4
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (base, inputs, *(stem, 7, 7)[3 - dims :])}
    shapes |= batch_norm("bn1", base)
    before = base
    for stage, blocks in enumerate(BLOCKS[depth]):
        inside = base * 2**stage
        kernels = (3, 3) if wide == 1 else (1, 3, 1)
        for block in range(blocks):
            name, came = f"layer{stage + 1}.{block}", before
            for i, kernel in enumerate(kernels, start=1):
                out = inside * wide if i == len(kernels) else inside
                shapes[f"{name}.conv{i}.weight"] = (out, came, *(kernel,) * dims)
                shapes |= batch_norm(f"{name}.bn{i}", out)
                came = out
            if block == 0 and not free and (stage > 0 or before != came):
                shapes[f"{name}.downsample.0.weight"] = (came, before, *(1,) * dims)
                shapes |= batch_norm(f"{name}.downsample.1", came)
            before = came
    return {name: filled(name, shape) for name, shape in shapes.items()}


def genesis(width: float) -> State:
    """Models Genesis' U-Net: units of convolution (with bias) and batch norm, names as in the authors' unet3d.py."""
    c = [int(n * width) for n in (32, 64, 128, 256, 512)]
    pairs = {"down_tr64": (1, c[0], c[1]), "down_tr128": (c[1], c[1], c[2]), "down_tr256": (c[2], c[2], c[3])}
    pairs |= {"down_tr512": (c[3], c[3], c[4]), "up_tr256": (c[4] + c[3], c[3], c[3])}
    pairs |= {"up_tr128": (c[3] + c[2], c[2], c[2]), "up_tr64": (c[2] + c[1], c[1], c[1])}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (came, middle, out) in pairs.items():
        if name.startswith("up"):
            up = came - out
            shapes |= {f"{name}.up_conv.weight": (up, up, 2, 2, 2), f"{name}.up_conv.bias": (up,)}
        for i, (a, b) in enumerate(((came, middle), (middle, out))):
            shapes |= {f"{name}.ops.{i}.conv1.weight": (b, a, 3, 3, 3), f"{name}.ops.{i}.conv1.bias": (b,)}
            shapes |= batch_norm(f"{name}.ops.{i}.bn1", b)
    shapes |= {"out_tr.final_conv.weight": (1, c[1], 1, 1, 1), "out_tr.final_conv.bias": (1,)}
    return {name: filled(name, shape) for name, shape in shapes.items()}


def seg_resnet(width: float) -> State:
    """MONAI's own network, as the bundle's configuration builds it."""
    from monai.networks.nets.segresnet import SegResNet

    with torch.device("meta"):
        net = SegResNet(init_filters=int(16 * width), in_channels=4, out_channels=3, dropout_prob=0.2)
    return {name: filled(name, tuple(tensor.shape)) for name, tensor in net.state_dict().items()}


# Trees: how a file holds them.


def halved(tensor: Tensor) -> Tensor:
    return tensor.bfloat16() if tensor.is_floating_point() else tensor


def linear(name: str, out: int, inside: int) -> State:
    return {f"{name}.{part}": filled(name + part, s) for part, s in (("weight", (out, inside)), ("bias", (out,)))}


def prefixed(state: Mapping[str, Tensor], prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def training(state: State, key: str = "state_dict", **more: object) -> dict[str, object]:
    """A file that training wrote: tensors under a key, an optimizer and counts beside them."""
    optimizer = {"state": {0: {"momentum_buffer": filled("momentum", (4, 4))}}, "param_groups": [{"lr": 0.1}]}
    return {"epoch": 200, "arch": "resnet50", key: state, "optimizer": optimizer, **more}


def plain(state: State, *, fc: str = "fc", classes: int = 1000) -> State:
    wide = max(tensor.shape[0] for tensor in state.values() if tensor.ndim)
    return {**state, **(linear(fc, classes, wide) if fc else {})}


def data_parallel(state: State, classes: int) -> object:
    return training(prefixed(plain(state, classes=classes) if classes else state, "module."))


def moco(state: State, *, layers: int, queue: int) -> object:
    head = linear("fc", 128, 64) if layers == 1 else {**linear("fc.0", 64, 64), **linear("fc.2", 128, 64)}
    other = {name: filled(f"key {name}", tuple(tensor.shape)) for name, tensor in state.items()}
    both = {**prefixed({**state, **head}, "module.encoder_q."), **prefixed({**other, **head}, "module.encoder_k.")}
    both |= {"module.queue": filled("queue", (128, queue)), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    return training(both)


def contrast(state: State, *, layers: int, jigsaw: bool) -> object:
    """PyContrast: the options are a pickled Namespace."""
    names: tuple[str, ...] = ("head.0",) if layers == 1 else ("head.0", "head.2")
    names += (("head_jig.fc1",) if layers == 1 else ("head_jig.fc1.0", "head_jig.fc1.2")) if jigsaw else ()
    junk = {k: v for name in (*names, *(("head_jig.fc2",) if jigsaw else ())) for k, v in linear(name, 64, 64).items()}
    tensors = {**prefixed(state, "module.encoder."), **prefixed(junk, "module.")}
    return training(tensors, "model", opt=argparse.Namespace(mem="bank", jigsaw=jigsaw, feat_dim=128))


def swav(state: State, *, prototypes: tuple[str, ...]) -> object:
    head = {**linear("projection_head.0", 64, 64), **linear("projection_head.3", 64, 64)}
    head |= {name: filled(name, shape) for name, shape in batch_norm("projection_head.1", 64)}
    return prefixed({**state, **head, **{f"{name}.weight": filled(name, (300, 64)) for name in prototypes}}, "module.")


def separius(state: State) -> object:
    """SimCLR v2 as Separius/SimCLRv2-Pytorch names it: a stem and four groups in one sequence."""
    return {"resnet": plain({_separius(name): tensor for name, tensor in state.items()}), "head": linear("l.0", 64, 64)}


def _separius(name: str) -> str:
    first, *rest = name.split(".")
    if first in {"conv1", "bn1"}:
        return ".".join(["net.0.0" if first == "conv1" else "net.0.1.0", *rest])
    block, layer, last = rest[0], rest[1], rest[-1]
    start = f"net.{first[-1]}.blocks.{block}."
    if layer == "downsample":
        return start + ("projection.shortcut." if rest[2] == "0" else "projection.bn.0.") + last
    number = 2 * int(layer[-1]) - 2
    return start + (f"net.{number}." if layer.startswith("conv") else f"net.{number + 1}.0.") + last


def by_number(state: State) -> State:
    """RadImageNet: the children of torchvision's network in one sequence called backbone."""
    place = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    return {f"backbone.{place[n.split('.')[0]]}.{n.partition('.')[2]}": tensor for n, tensor in state.items()}


def _haiku(name: str) -> tuple[str, str, str]:
    """Return module, parameter and table ("params" or "state") of a tensor in haiku."""
    *path, part = name.split(".")
    if path[0] in {"conv1", "bn1"}:
        module = "res_net50/~/" + ("initial_conv" if path[0] == "conv1" else "initial_batchnorm")
    else:
        layer = {"0": "shortcut_conv", "1": "shortcut_batchnorm"}.get(path[3] if len(path) > 3 else "")
        layer = layer or ("conv_" if path[2].startswith("conv") else "batchnorm_") + str(int(path[2][-1]) - 1)
        module = f"res_net50/~/block_group_{int(path[0][-1]) - 1}/~/block_{path[1]}/~/{layer}"
    if part.startswith("running"):
        return f"{module}/~/{'mean' if part.endswith('mean') else 'var'}_ema", "average", "state"
    return module, "w" if "conv" in module else {"weight": "scale", "bias": "offset"}[part], "params"


def haiku(state: State) -> object:
    """BYOL: nested tables of arrays; kernels H, W, in, out; norms 1, 1, 1, C; a class of the authors around all."""
    tables: dict[str, dict[str, dict[str, np.ndarray]]] = {"params": {}, "state": {}}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        module, part, table = _haiku(name)
        array = tensor.numpy()
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.reshape(1, 1, 1, -1)
        tables[table].setdefault(module, {})[part] = np.ascontiguousarray(array)
        if table == "state":
            tables[table][module] |= {"counter": np.array(7, np.int32), "hidden": np.zeros_like(array)}
    for name in ("projector/linear", "predictor/linear", "classifier"):
        tables["params"][name] = {"w": np.ones((8, 4), np.float32), "b": np.ones(4, np.float32)}
    params, kept = (dict(sorted(tables[table].items())) for table in ("params", "state"))
    target = {name: {part: array + 1 for part, array in table.items()} for name, table in params.items()}
    return {"experiment_state": (params, target, kept, kept, ()), "step": 1, "rng": np.zeros(2, np.uint32)}
