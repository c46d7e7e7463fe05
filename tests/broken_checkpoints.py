"""A corpus of broken checkpoints: each file is wrong in one way that is known from files in use.

    python tests/broken_checkpoints.py OUT [--kinds]

All weights are synthetic: small networks with random tensors and statistics unlike initial ones. A kind
says which causes name it rightly. Kinds with `shows=False` cannot be seen in names, shapes or numbers: only a
fingerprint or a source network shows them.
"""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from allograft.core.input_spec import InputSpec
from allograft.core.reference import Reference
from allograft.study.check_weights import build_encoder
from allograft.weights.card import WeightSource
from allograft.weights.fingerprint import fingerprint
from allograft.weights.source import file_sha256

State = dict[str, Tensor]

MARKER = "broken-checkpoints-marker"
"""What a malicious file would create in the folder it is opened in; tests look for it."""


class Kind(NamedTuple):
    """A way of being wrong.

    Args:
        name: short name.
        donor: name of the network whose weights are meant.
        write: writes the file into a folder, from the true state, and returns its path.
        causes: ids of which one must be named; several where they say the same.
        shows: whether names, shapes or numbers alone show it.
        card: changes of the card that the file is judged by.
    """

    name: str
    donor: str
    write: Callable[[Path, State], Path]
    causes: tuple[str, ...]
    shows: bool = True
    card: Mapping[str, Any] = {}


class Sample(NamedTuple):
    """A file of the corpus with the card it is judged by, and the true one that it should have been."""

    kind: Kind
    path: Path
    card: WeightSource
    good: Path


DONORS: dict[str, dict[str, Any]] = {
    "flat": {"encoder": "resnet18", "width": 0.125},
    "deep": {"encoder": "resnet34", "width": 0.125},
    "bottleneck": {"encoder": "resnet50", "width": 0.125},
    "volume": {"encoder": "medicalnet10", "width": 0.125, "dims": 3, "channels": 1},
    "short": {"encoder": "medicalnet18", "width": 0.125, "dims": 3, "channels": 1},
    "brain": {"encoder": "genesis", "width": 0.25, "dims": 3, "channels": 4, "names": ("t1", "t1ce", "t2", "flair")},
}
"""The networks that the corpus is made of, small so that all is fast."""


def card_of(donor: str, **changes: Any) -> WeightSource:
    """Return the card of a donor, without fingerprint."""
    facts = DONORS[donor]
    dims = facts.get("dims", 2)
    spec = InputSpec(
        channels=facts.get("channels", 3),
        channel_names=facts.get("names", ()),
        axes="DHW" if dims == 3 else "HW",
        size=(16, 24, 32) if dims == 3 else (),
    )
    data = {
        "name": donor,
        "title": f"{donor} (synthetic)",
        "origin": "file:x",
        "license": "own",
        "commercial": True,
        "reference": Reference(title="synthetic"),
        "encoder": facts["encoder"],
        "dims": dims,
        "width": facts["width"],
        "expects": spec,
    }
    return WeightSource.model_validate({**data, **changes})


def donor_net(donor: str, card: WeightSource | None = None) -> nn.Module:
    """Return a donor with random tensors unlike initial ones, as after training (synthetic)."""
    net = build_encoder(card or card_of(donor))
    shake(net.state_dict(), seed=sum(map(ord, donor)))
    return net.eval()


def shake(state: Mapping[str, Tensor], seed: int) -> None:
    """Move every tensor away from its initial value."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            value.fill_(500)
        elif name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        else:
            scale = 0.3 * float(value.float().std(correction=0)) + 0.05
            value.add_(scale * torch.randn(value.shape, generator=generator))


@cache
def _trained(donor: str) -> nn.Module:
    return donor_net(donor)


def true_state(donor: str) -> State:
    """Return a donor's tensors."""
    return {name: value.detach().clone() for name, value in _trained(donor).state_dict().items()}


@cache
def marked_card(donor: str) -> WeightSource:
    """Return a donor's card with its fingerprint."""
    return with_mark(card_of(donor), _trained(donor))


def with_mark(card: WeightSource, net: nn.Module) -> WeightSource:
    """Return a card with the fingerprint of a network."""
    spec = card.expects
    size = spec.size or ((64, 64) if card.dims == 2 else (16, 24, 32))
    return card.model_copy(update={"fingerprint": fingerprint(net, (1, spec.channels, *size))})


# Ways to write a file.


def plain(folder: Path, state: Mapping[str, Any]) -> Path:
    """A state dict as torch writes it."""
    torch.save(dict(state), folder / "w.pth")
    return folder / "w.pth"


def prefixed(prefix: str) -> Callable[[Path, State], Path]:
    return lambda folder, state: plain(folder, {prefix + name: value for name, value in state.items()})


def changed(change: Callable[[State], Any]) -> Callable[[Path, State], Path]:
    """Change a state in place (or return another one), then write it."""

    def write(folder: Path, state: State) -> Path:
        other = change(state)
        return plain(folder, other if isinstance(other, dict) else state)

    return write


def of(donor: str) -> Callable[[Path, State], Path]:
    """Write another donor's weights."""
    return lambda folder, _: plain(folder, true_state(donor))


def rebuilt(**changes: Any) -> Callable[[Path, State], Path]:
    """Write a network like the donor but for some fields of its card."""

    def write(folder: Path, _: State) -> Path:
        donor = changes.pop("donor", "flat")
        card = card_of(donor).model_copy(update={k: v for k, v in changes.items() if k != "channels"})
        if "channels" in changes:
            card = card.model_copy(update={"expects": InputSpec(channels=changes["channels"])})
        changes["donor"] = donor
        return plain(folder, donor_net(donor, card).state_dict())

    return write


# The changes.


def kernels(state: State) -> list[str]:
    return [name for name, value in state.items() if value.ndim >= 4]


def turn_kernels(*order: int) -> Callable[[State], None]:
    def change(state: State) -> None:
        for name in kernels(state):
            state[name] = state[name].permute(*order).contiguous()

    return change


def swap_inputs(first: str, order: tuple[int, ...]) -> Callable[[State], None]:
    def change(state: State) -> None:
        state[first] = state[first][:, list(order)].contiguous()

    return change


def without(*ends: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if not name.endswith(ends)}


def put(value: float) -> Callable[[State], None]:
    def change(state: State) -> None:
        state["layer3.0.conv1.weight"].view(-1)[7] = value

    return change


def averaged(state: State, decay: float = 0.97) -> State:
    """What a slow average over training would hold: near the weights, not they (synthetic)."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: value
        if not value.is_floating_point()
        else decay * value + (1 - decay) * value.std(correction=0) * torch.randn(value.shape, generator=generator)
        for name, value in state.items()
    }


def with_head(state: State) -> State:
    generator = torch.Generator().manual_seed(1)
    return {
        **state,
        "fc.weight": torch.randn(1000, 64, generator=generator),
        "fc.bias": torch.zeros(1000),
        "projection_head.0.weight": torch.randn(64, 64, generator=generator),
    }


def with_turned_head(state: State) -> State:
    generator = torch.Generator().manual_seed(1)
    return {**state, "fc.weight": torch.randn(64, 2, generator=generator), "fc.bias": torch.zeros(2)}


def turned_blocks(state: State) -> State:
    """Bottlenecks that list their last convolution first."""
    where = {"conv1": "conv2", "conv2": "conv3", "conv3": "conv1", "bn1": "bn2", "bn2": "bn3", "bn3": "bn1"}
    out = {}
    for name, value in state.items():
        parts = name.split(".")
        if len(parts) == 4 and parts[0].startswith("layer") and parts[2] in where:
            parts[2] = where[parts[2]]
        out[".".join(parts)] = value
    return out


def fresh(state: State) -> State:
    return dict(build_encoder(card_of("flat")).state_dict())


def as_int8(state: State) -> State:
    return {
        name: value
        if not value.is_floating_point()
        else (value / value.abs().max().clamp_min(1e-8) * 127).round().to(torch.int8)
        for name, value in state.items()
    }


def as_half(state: State) -> State:
    state["layer2.0.bn1.running_var"] *= 1e6
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def zeros(state: State) -> None:
    state["layer2.1.conv1.weight"].zero_()


def without_layer(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("layer3.1.")}


def both_names(state: State) -> State:
    return {**{f"module.{name}": value for name, value in state.items()}, **state}


def other_library(state: State) -> State:
    words = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    out = {}
    for name, value in state.items():
        path, _, last = name.rpartition(".")
        norm = "bn" in path or "downsample.1" in path
        last = {"weight": "gamma", "bias": "beta"}.get(last, last) if norm else last
        if last != "num_batches_tracked":
            out[f"{path}.{words.get(last, last)}"] = value
    return out


def optimiser(folder: Path, state: State) -> Path:
    states = {
        i: {"step": torch.tensor(10.0), "exp_avg": v.clone(), "exp_avg_sq": v**2} for i, v in enumerate(state.values())
    }
    return plain(folder, {"state": states, "param_groups": [{"lr": 1e-3, "params": list(states)}]})


def with_average(folder: Path, state: State) -> Path:
    return plain(folder, {"state_dict": state, "state_dict_ema": averaged(state), "epoch": 7})


def student_and_teacher(folder: Path, state: State) -> Path:
    slow = averaged(state)
    both = {**{f"teacher.{k}": v for k, v in slow.items()}, **{f"student.{k}": v for k, v in state.items()}}
    return plain(folder, both)


# Files that are not whole, not weights, or dangerous.


def truncated(folder: Path, state: State) -> Path:
    path = plain(folder, state)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def truncated_safetensors(folder: Path, state: State) -> Path:
    path = folder / "w.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def shards(folder: Path, state: State) -> tuple[Path, list[Path]]:
    """Two shards of safetensors with their index."""
    names = list(state)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    paths = [folder / f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for part, path in zip(parts, paths, strict=True):
        save_file({name: state[name] for name in part}, path)
    weight_map = {name: path.name for part, path in zip(parts, paths, strict=True) for name in part}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index, paths


def half_shard(folder: Path, state: State) -> Path:
    index, paths = shards(folder, state)
    paths[1].write_bytes(paths[1].read_bytes()[: paths[1].stat().st_size // 2])
    return index


def missing_shard(folder: Path, state: State) -> Path:
    index, paths = shards(folder, state)
    paths[1].unlink()
    return index


def wrong_hash(folder: Path, state: State) -> Path:
    state["conv1.weight"] += 0.5
    return plain(folder, state)


def zip_bomb(folder: Path, state: State) -> Path:
    path = folder / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/data/0", b"\0" * 64_000_000)
    return path


class Command:
    """Would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"touch {MARKER}",)


def malicious(folder: Path, state: State) -> Path:
    torch.save({"state_dict": state, "extra": Command()}, folder / "w.pth")
    return folder / "w.pth"


def malicious_plain(folder: Path, state: State) -> Path:
    path = folder / "w.pkl"
    path.write_bytes(pickle.dumps({"w": [1.0], "extra": Command()}))
    return path


def text_file(name: str, text: bytes) -> Callable[[Path, State], Path]:
    def write(folder: Path, _: State) -> Path:
        (folder / name).write_bytes(text)
        return folder / name

    return write


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>404</body></html>\n"
STRIP = ((r"module\.(.+)", r"\1"),)
HEAD_CLASSES: dict[str, Any] = {
    "key_map": ((r"fc\.(.+)", r"heads.lesion.\1"),),
    "classes": {"lesion": ("benign", "malignant")},
}

PREFIXES = (
    "module.",
    "_orig_mod.",
    "encoder_q.",
    "module.encoder_q.",
    "module.encoder.",
    "encoder1.",
    "backbone.",
    "model.",
    "net.",
    "encoder.",
    "student.",
    "resnet.",
    "image_encoder.encode_image.",
    "module.module.",
    "_orig_mod.module.",
)


class Elsewhere(NamedTuple):
    """A kind whose true network differs in something that no tensor shows."""

    name: str
    donor: str
    act: Callable[[nn.Module], None]
    causes: tuple[str, ...]


def _attribute(path: str, **values: Any) -> Callable[[nn.Module], None]:
    def act(net: nn.Module) -> None:
        for name, value in values.items():
            setattr(net.get_submodule(path), name, value)

    return act


def _all_norms(eps: float) -> Callable[[nn.Module], None]:
    def act(net: nn.Module) -> None:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.eps = eps

    return act


def _no_pool(net: nn.Module) -> None:
    net.add_module("maxpool", nn.Identity())


def _leaky(net: nn.Module) -> None:
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.LeakyReLU(0.01))


def _dilated_last(net: nn.Module) -> None:
    for module in net.get_submodule("layer4").modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.dilation, module.padding = (2, 2), (2, 2)


ELSEWHERE = (
    Elsewhere("stem stride", "flat", _attribute("conv1", stride=(1, 1)), ("stem_stride",)),
    Elsewhere("no pooling in the stem", "flat", _no_pool, ("stem_stride",)),
    Elsewhere("dilation of the last stage", "flat", _dilated_last, ("dilation",)),
    Elsewhere("epsilon of norm layers", "flat", _all_norms(1e-1), ("norm_epsilon",)),
    Elsewhere("activation", "flat", _leaky, ("activation",)),
)

KINDS: tuple[Kind, ...] = (
    *(Kind(f"prefix {prefix}", "flat", prefixed(prefix), ("prefix",)) for prefix in PREFIXES),
    Kind("container not named", "flat", lambda f, s: plain(f, {"state_dict": s, "epoch": 3}), ("container",)),
    Kind("wrong depth", "flat", of("deep"), ("wrong_depth",)),
    Kind("shortcut A for B", "short", rebuilt(donor="short", encoder="resnet18"), ("shortcut_type",)),
    Kind("width multiplier", "flat", rebuilt(width=0.25), ("wrong_width",)),
    Kind("another dimension", "flat", rebuilt(dims=3), ("wrong_dims",)),
    Kind("another number of input channels", "flat", rebuilt(channels=1), ("input_channels",)),
    Kind("layer dropped in the middle", "flat", changed(without_layer), ("missing_tensors",)),
    Kind("missing BN statistics", "flat", changed(without("running_mean", "running_var")), ("missing_statistics",)),
    Kind("NaN", "flat", changed(put(float("nan"))), ("not_finite",)),
    Kind("Inf", "flat", changed(put(float("inf"))), ("not_finite",)),
    Kind("half-precision overflow", "flat", changed(as_half), ("overflow",)),
    Kind("quantised int8", "flat", changed(as_int8), ("quantised",)),
    Kind("head kept", "flat", changed(with_head), ("head_kept",)),
    Kind("transposed head", "flat", changed(with_turned_head), ("head_transposed",), card=HEAD_CLASSES),
    Kind("permuted bottleneck order", "bottleneck", changed(turned_blocks), ("bottleneck_order",)),
    Kind("channels-last kernels", "flat", changed(turn_kernels(2, 3, 1, 0)), ("layout",)),
    Kind("channels-last kernels 3-D", "volume", changed(turn_kernels(2, 3, 4, 1, 0)), ("layout",)),
    Kind("names of another library", "flat", changed(other_library), ("tensor_names",)),
    Kind("duplicate names after mapping", "flat", changed(both_names), ("duplicate_names",), card={"key_map": STRIP}),
    Kind("all zeros layer", "flat", changed(zeros), ("zero_tensors",)),
    Kind("never trained", "flat", changed(fresh), ("untrained",)),
    Kind("optimiser state instead of weights", "flat", optimiser, ("not_weights",)),
    Kind("half of a shard", "flat", half_shard, ("truncated",)),
    Kind("missing shard", "flat", missing_shard, ("shard_missing",)),
    Kind("truncated file", "flat", truncated, ("truncated",)),
    Kind("truncated safetensors", "flat", truncated_safetensors, ("truncated",)),
    Kind("wrong hash", "flat", wrong_hash, ("wrong_hash",)),
    Kind("zip bomb", "flat", zip_bomb, ("zip_bomb",)),
    Kind("malicious pickle", "flat", malicious, ("unsafe",)),
    Kind("malicious pickle, no torch file", "flat", malicious_plain, ("unsafe",)),
    Kind("git-LFS pointer", "flat", text_file("w.pth", LFS), ("lfs_pointer",)),
    Kind("web page", "flat", text_file("w.pth", PAGE), ("web_page",)),
    Kind("empty file", "flat", text_file("w.pth", b""), ("empty_file",)),
    Kind("BGR for RGB", "flat", changed(swap_inputs("conv1.weight", (2, 1, 0))), ("channel_order",), shows=False),
    Kind("swapped modalities", "brain", changed(swap_inputs("down_tr64.ops.0.conv1.weight", (2, 0, 3, 1))),
         ("channel_order",), shows=False),
    Kind("transposed kernel axes", "flat", changed(turn_kernels(0, 1, 3, 2)), ("axis_order",), shows=False),
    Kind("transposed kernel axes 3-D", "volume", changed(turn_kernels(0, 1, 4, 2, 3)), ("axis_order",), shows=False),
    Kind("EMA instead of weights", "flat", with_average, ("averaged_weights",), shows=False,
         card={"container": "state_dict_ema"}),
    Kind("EMA alone", "flat", changed(averaged), ("near_weights",), shows=False),
    Kind("teacher for student", "flat", student_and_teacher, ("prefix", "averaged_weights"), shows=False,
         card={"key_map": ((r"teacher\.(.+)", r"\1"), (r"student\..+", None))}),
    Kind("weights of another training", "flat", changed(lambda s: shake(s, 99)), ("other_values", "near_weights"),
         shows=False),
    Kind("dilation (MedicalNet for plain)", "volume", plain, ("dilation",), shows=False, card={"encoder": "resnet10"}),
)  # fmt: skip


def make(kind: Kind, folder: Path, *, mark: bool) -> Sample:
    """Write one kind into a folder, with the card it is judged by; with `mark`, the card has its fingerprint."""
    folder.mkdir(parents=True, exist_ok=True)
    state = true_state(kind.donor)
    good = folder / "good.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, good)
    card = marked_card(kind.donor) if mark else card_of(kind.donor)
    card = WeightSource.model_validate({**card.model_dump(), **kind.card})
    path = kind.write(folder, state)
    if kind.name == "wrong hash":
        card = card.model_copy(update={"sha256": file_sha256(good)})
    return Sample(kind, path, card, good)


def make_elsewhere(kind: Elsewhere, folder: Path) -> Sample:
    """Write a sound file whose own network differs from the one that the card names; the card has its fingerprint."""
    folder.mkdir(parents=True, exist_ok=True)
    net = donor_net(kind.donor)
    kind.act(net)
    path = folder / "good.safetensors"
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path)
    as_kind = Kind(kind.name, kind.donor, plain, kind.causes, shows=False)
    return Sample(as_kind, path, with_mark(card_of(kind.donor), net), path)


def main() -> None:
    out = Path(sys.argv[1])
    for kind in KINDS:
        sample = make(kind, out / kind.name.replace(" ", "-").replace("/", "-"), mark=True)
        sys.stdout.write(f"{kind.name}: {sample.path}\n")
    for each in ELSEWHERE:
        sample = make_elsewhere(each, out / each.name.replace(" ", "-"))
        sys.stdout.write(f"{each.name}: {sample.path}\n")


if __name__ == "__main__":
    main()
