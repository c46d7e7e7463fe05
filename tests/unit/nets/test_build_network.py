"""build_network: the same spec and seed, the same tensors; the global random state untouched."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.nets.build import Parts, build_network
from allograft.nets.decoders.unet import UNet
from allograft.nets.encoders.resnet import ResNet
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.testing.encoders import tiny_encoder

TASKS = {
    "finding": Task(kind="binary", classes=("no", "yes"), head="finding"),
    "type": Task(kind="multiclass", classes=("a", "b", "c"), head="type"),
}
ONE = {"finding": TASKS["finding"]}


def build(spec=None, tasks=ONE, *, seed=0, in_channels=1, factory=tiny_encoder, decoder=None, device="cpu") -> Network:
    spec = spec or NetSpec(encoder="tiny")
    decoder = decoder or (UNet if spec.decoder else None)
    return build_network(spec, tasks, in_channels=in_channels, seed=seed, device=device, parts=Parts(factory, decoder))


def same(a, b):
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("dims", [2, 3])
def test_same_seed_same_tensors_other_seed_other_tensors(dims):
    spec = NetSpec(encoder="tiny", dims=dims)
    torch.manual_seed(1)
    first = build(spec).state_dict()
    torch.manual_seed(2)
    assert same(first, build(spec).state_dict())
    other = build(spec, seed=1).state_dict()
    for key in ("encoder.unit1.conv.weight", "heads.finding.linear.weight"):
        assert not torch.equal(first[key], other[key])


def test_global_random_state_is_untouched():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    build()
    assert torch.equal(before, torch.random.get_rng_state())


def test_heads_depend_on_name_and_seed_only():
    """Recipes with other encoders of the same feature width, or with more heads, share a head's start."""
    grade = Task(kind="multiclass", classes=("a", "b", "c"), head="grade")
    a = build(NetSpec(encoder="tiny", dims=2)).heads.state_dict()["finding.linear.weight"]
    b = build(NetSpec(encoder="cube", dims=3)).heads.state_dict()["finding.linear.weight"]
    c = build(tasks={"grade": grade, **ONE}).heads.state_dict()
    assert torch.equal(a, b)
    assert torch.equal(a, c["finding.linear.weight"])
    assert not torch.equal(c["grade.linear.weight"][:1], a)


def test_noise_settings_do_not_change_the_values():
    quiet = build(NetSpec(encoder="r", width=0.125), factory=partial(ResNet, 10))
    noisy = build(NetSpec(encoder="r", width=0.125, dropout=0.5, drop_path=0.3), factory=partial(ResNet, 10))
    assert same(quiet.state_dict(), noisy.state_dict())
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(quiet.eval()(x).logits["finding"], noisy.eval()(x).logits["finding"])
    noisy.heads.train()
    assert not torch.equal(quiet(x).logits["finding"], noisy(x).logits["finding"])


def test_on_meta_the_same_names_and_shapes():
    real, shapes = build().state_dict(), build(device="meta").state_dict()
    assert {k: v.shape for k, v in real.items()} == {k: v.shape for k, v in shapes.items()}
    assert all(v.is_meta for v in shapes.values())


def test_the_default_device_of_others_is_not_followed():
    with torch.device("meta"):
        assert not any(p.is_meta for p in build().parameters())


def test_spec_in_channels_wins_over_the_datas():
    assert build(NetSpec(encoder="tiny", in_channels=3), in_channels=1).shape.in_channels == 3
    assert build(in_channels=4).shape.in_channels == 4


def test_output_shapes_and_head_start():
    tasks = {"finding": TASKS["finding"], "grade": Task(kind="multiclass", classes=("a", "b", "c"))}
    net = build(tasks=tasks)
    out = net(torch.randn(2, 1, 16, 16))
    assert {k: tuple(v.shape) for k, v in out.logits.items()} == {"finding": (2, 1), "grade": (2, 3)}
    big = build(factory=partial(ResNet, 50), device="cpu", spec=NetSpec(encoder="r"))
    weight = big.heads["finding"].linear.weight
    assert float(weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert not big.heads["finding"].linear.bias.any()


def test_without_tasks_there_is_an_encoder_without_heads():
    net = build(NetSpec(encoder="tiny"), {}, device="cpu")
    assert not net.heads
    assert net.decoder is None
    assert net(torch.randn(2, 1, 16, 16)).logits == {}


@pytest.mark.parametrize(
    ("spec", "tasks", "says"),
    [
        (NetSpec(encoder="tiny", decoder="unet"), ONE, "does nothing"),
        (NetSpec(encoder="tiny"), {"mask": Task(kind="segmentation", classes=("bg", "x"))}, "segmentation"),
        (NetSpec(encoder="tiny"), {"a.b": TASKS["finding"]}, "cannot be used"),
        (NetSpec(encoder="tiny"), {"type": TASKS["finding"]}, "cannot be used"),
        (NetSpec(encoder="tiny", drop_path=0.1), ONE, "drop_path"),
    ],
)
def test_what_cannot_be_built_is_refused(spec, tasks, says):
    with pytest.raises(ConfigError, match=says):
        build(spec, tasks)
