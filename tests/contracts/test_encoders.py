"""Every encoder keeps the contract, and each check of the suite can say no."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from allograft.nets.encoders.cbr import CBR, CBR_FORMS
from allograft.nets.encoders.dense import Dense
from allograft.nets.encoders.genesis import Genesis
from allograft.nets.encoders.monai_encoder import MonaiEncoder
from allograft.nets.encoders.resnet import ResNet
from allograft.nets.encoders.scgm import SCGM
from allograft.nets.encoders.timm_encoder import TimmEncoder
from allograft.nets.network import Encoder, Stage, parameter_count
from allograft.testing.encoders import check_encoder, check_flat_volume, tiny_encoder

SMALL = 0.125
OURS = {
    "tiny": tiny_encoder,
    "resnet10": partial(ResNet, 10),
    "resnet50": partial(ResNet, 50),
    "resnet18_slim": partial(ResNet, 18, slim=True),
    "resnet18_small": partial(ResNet, 18, "small"),
    "medicalnet18": partial(ResNet, 18, "medicalnet"),
    "medicalnet50": partial(ResNet, 50, "medicalnet"),
    "kinetics18": partial(ResNet, 18, "kinetics"),
    "kinetics50": partial(ResNet, 50, "kinetics"),
    "resnet34_slice": partial(ResNet, 34, "slice"),
    "resnet50_slice": partial(ResNet, 50, "slice"),
    "dense": Dense,
    "genesis": Genesis,
    "scgm": SCGM,
    "cbr_tiny": partial(CBR, CBR_FORMS["cbr_tiny"]),
    "cbr_large_t": partial(CBR, CBR_FORMS["cbr_large_t"]),
}
TIMM = {
    "tf_efficientnet_lite0": 64,
    "mobilenetv2_100": 64,
    "mobilenetv3_small_050": 64,
    "resnet18": 64,
    "convnext_atto": 64,
    "densenet121": 64,
    "vit_tiny_patch16_224": 64,
}
INFLATED = [
    "resnet18",
    "mobilenetv2_050",
    "tf_efficientnet_lite0",
    "efficientnet_b0",
    "mobilenetv3_small_050",
    "regnetx_002",
    "densenet121",
    pytest.param("vgg11_bn", marks=pytest.mark.slow),
]


def thin(factory, *, dims, in_channels, width, drop_path):
    """The same encoder with few channels: the contract does not depend on the width."""
    return factory(dims=dims, in_channels=in_channels, width=width * SMALL, drop_path=drop_path)


def half(factory, *, dims, in_channels, width, drop_path):
    """The same encoder at half the width, which MONAI's group norms allow."""
    return factory(dims=dims, in_channels=in_channels, width=width / 2, drop_path=drop_path)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", OURS)
def test_our_encoder_keeps_the_contract(name, dims):
    factory = OURS[name] if name == "tiny" else partial(thin, OURS[name])
    check_encoder(factory, dims)


@pytest.mark.parametrize("name", OURS)
def test_our_encoder_in_3d_equals_2d_on_equal_slices(name):
    check_flat_volume(OURS[name] if name == "tiny" else partial(thin, OURS[name]))


@pytest.mark.parametrize("name", TIMM)
def test_timm_encoder_keeps_the_contract(name):
    check_encoder(partial(TimmEncoder, name), 2, size=TIMM[name], in_channels=1)


@pytest.mark.parametrize("depth", ["cube", "slice"])
@pytest.mark.parametrize("name", INFLATED)
def test_timm_encoder_in_3d_keeps_the_contract(name, depth):
    check_encoder(partial(TimmEncoder, name, depth), 3, size=32, in_channels=1)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["DynUNet", "SegResNet"])
def test_monai_encoder_keeps_the_contract(name, dims):
    check_encoder(partial(half, partial(MonaiEncoder, name)), dims, size=32)


def test_swin_unetr_keeps_the_contract():
    pytest.importorskip("einops", reason="SwinUNETR needs einops")
    check_encoder(partial(half, partial(MonaiEncoder, "SwinUNETR")), 2, size=64)


@pytest.mark.parametrize("dims", [2, 3])
def test_tiny_encoder_is_tiny_and_normalised(dims):
    net = tiny_encoder(dims)
    assert parameter_count(net) < 5000
    assert any(isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d) for m in net.modules())


class Broken(nn.Module):
    """A sound encoder of one convolution; each subclass breaks one part."""

    dims, channels, strides = 2, (4,), (2,)

    def __init__(self, *, dims=2, in_channels=2, width=1.0, drop_path=0.0):
        super().__init__()
        self.in_channels = in_channels
        self.conv = nn.Conv2d(in_channels, 4, 3, stride=2, padding=1)

    def forward(self, x):
        return (self.conv(x),)

    def stages(self):
        return (Stage("stem", ("conv",)),)


class WrongStride(Broken):
    strides = (4,)


class WrongChannels(Broken):
    channels = (8,)


class Homeless(Broken):
    def stages(self):
        return (Stage("stem", ("conv.weight",)),)


class TwoHomes(Broken):
    def stages(self):
        return (Stage("stem", ("conv",)), Stage("stage1", ("conv.bias",)))


class EmptyStage(Broken):
    def stages(self):
        return (Stage("stem", ("conv",)), Stage("stage1", ("gone",)))


class Idle(Broken):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.conv.unused = nn.Parameter(torch.ones(1))


class Detached(Broken):
    def forward(self, x):
        return (nn.functional.conv2d(x, self.conv.weight, self.conv.bias.detach(), stride=2, padding=1),)


class Noisy(Broken):
    def forward(self, x):
        out = self.conv(x)
        return (out + torch.rand_like(out),)


class LooksAtBatch(Broken):
    def forward(self, x):
        return (self.conv(x - x.mean()),)


class NumbersOnMeta(Broken):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.conv.register_buffer("table", torch.ones(3, device="cpu"))


def test_suite_passes_the_sound_encoder():
    check_encoder(Broken, 2)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (WrongStride, "level 0: declared"),
        (WrongChannels, "level 0: declared"),
        (Homeless, "lies in 0 stages"),
        (TwoHomes, "lies in 2 stages"),
        (EmptyStage, "without a tensor"),
        (Idle, "no gradient"),
        (Detached, "no gradient"),
        (Noisy, "two evaluations"),
        (LooksAtBatch, "other cases"),
        (NumbersOnMeta, "holds numbers"),
    ],
)
def test_suite_refuses_a_broken_encoder(broken, says):
    with pytest.raises(AssertionError, match=says):
        check_encoder(broken, 2)


def test_flat_volume_check_refuses_another_function():
    class Shifted(nn.Module):
        def __init__(self, **settings):
            super().__init__()
            self.inner, self.dims = tiny_encoder(**settings), settings["dims"]

        def forward(self, x):
            first, last = self.inner(x)
            return (first, last * 1.01 if self.dims == 3 else last)

    with pytest.raises(AssertionError, match="level 1"):
        check_flat_volume(Shifted)


def test_encoders_are_encoders():
    assert isinstance(tiny_encoder(2), Encoder)
