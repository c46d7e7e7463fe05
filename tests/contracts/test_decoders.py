"""Every decoder keeps the contract behind encoders of every kind of strides; each check can say no."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from torch import nn

from allograft.catalog import DECODERS, ENCODERS, encoder_factory
from allograft.core.errors import ConfigError
from allograft.nets.decoders.unet import UNet
from allograft.nets.encoders.timm_encoder import TimmEncoder
from allograft.nets.network import Stage
from allograft.testing.decoders import check_decoder, segmentation_net
from allograft.testing.encoders import tiny_encoder

SMALL = 0.125


def thin(factory, *, dims, in_channels, width, drop_path):
    """The same encoder with few channels: the contract does not depend on the width."""
    return factory(dims=dims, in_channels=in_channels, width=width * SMALL, drop_path=drop_path)


def slender(name):
    return partial(thin, encoder_factory(name))


BEHIND = ("resnet10", "resnet50", "resnet18_small", "medicalnet18", "cbr_tiny", "cbr_large_t")


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["tiny", *BEHIND])
def test_unet_behind_our_encoders(name, dims):
    check_decoder(partial(UNet, most=16, least=4), tiny_encoder if name == "tiny" else slender(name), dims)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224", "resnet18"])
def test_unet_behind_timm_encoders(name):
    check_decoder(partial(UNet, most=16, least=4), partial(TimmEncoder, name), 2, size=64)


DEEPER = re.compile(r"(\w*resnet|medicalnet)(18|34|50|101|152|200)(_\w+)?")
FIXED = {"voxel_features", "voxel_features_position"}
"""Encoders without channels that could be fewer, for voxel classifiers."""
FAMILIES = [name for name in ENCODERS if not DEEPER.fullmatch(name) and name not in FIXED]
"""Depths of a ResNet have the strides of the shallowest, which stands for all."""


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_unet_behind_every_family_gives_the_images_grid(name, dims):
    net = segmentation_net(UNet, slender(name), dims, device="meta").eval()
    x = torch.empty(1, 1, *[64] * dims, device="meta")
    assert tuple(net(x).logits["mask"].shape) == (1, 3, *[64] * dims)


PAIRS = {
    "albunet": ("resnet34_slice", 32),
    "dense": ("dense", 16),
    "genesis": ("genesis", 16),
    "linknet": ("deepbet", 64),
    "medicalnet": ("medicalnet18", 16),
    "same": ("scgm", 8),
    "unet": ("resnet10_slice", 32),
}


def test_every_decoder_of_the_catalog_is_here():
    assert set(PAIRS) == set(DECODERS)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_decoder_keeps_the_contract(name, dims):
    encoder, size = PAIRS[name]
    check_decoder(DECODERS[name], slender(encoder), dims, size=size)


@pytest.mark.parametrize("name", ["dense", "genesis"])
def test_other_encoders_with_such_levels_will_do(name):
    check_decoder(DECODERS[name], slender("genesis"), 2, size=16)


@pytest.mark.parametrize(
    ("decoder", "encoder"),
    [("albunet", "resnet10"), ("dense", "resnet10"), ("genesis", "resnet10"), ("same", "resnet10")],
)
def test_a_decoder_refuses_levels_that_do_not_suit_it(decoder, encoder):
    with pytest.raises(ConfigError, match=f'decoder "{decoder}".*Use|decoder "{decoder}".*Take'):
        segmentation_net(DECODERS[decoder], slender(encoder), 3, device="meta")


class Levels(nn.Module):
    """An encoder with the strides that a test names; pools the image to each."""

    def __init__(self, strides, *, dims, in_channels, width, drop_path):
        super().__init__()
        self.dims, self.in_channels, self.strides = dims, in_channels, strides
        self.channels = (in_channels,) * len(strides)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        pool = nn.functional.avg_pool2d if self.dims == 2 else nn.functional.avg_pool3d
        places = [x.shape[2:] if s == 0 else s for s in self.strides]
        return tuple(self.scale * pool(x, place) for place in places)

    def stages(self):
        return (Stage("stem", ("scale",)),)


@pytest.mark.parametrize("strides", [(1, 2, 6), (3, 6, 12), (7, 14, 0), (8, 8, 8), (4,)])
def test_unet_takes_any_strides_that_divide_one_another(strides):
    check_decoder(partial(UNet, least=4), partial(Levels, strides), 2, size=84 if 7 in strides else 24, in_channels=2)


def test_unet_takes_strides_that_differ_by_axis():
    strides = ((1, 1, 1), (1, 2, 2), (2, 4, 4), (2, 8, 8))
    check_decoder(partial(UNet, least=4), partial(Levels, strides), 3, size=16)


@pytest.mark.parametrize(("strides", "says"), [((2, 3), "does not divide"), ((0,), "no level with a place")])
def test_unet_refuses_what_it_cannot_join(strides, says):
    with pytest.raises(ConfigError, match=says):
        segmentation_net(UNet, partial(Levels, strides), 2)


@pytest.mark.parametrize(("size", "fits"), [((32, 32, 64), True), ((32, 32, 40), False), ((32, 31, 32), False)])
def test_a_size_that_the_strides_do_not_divide_is_refused(size, fits):
    net = segmentation_net(UNet, slender("resnet10"), 3, device="meta").eval()
    x = torch.empty(1, 1, *size, device="meta")
    if fits:
        assert net.dense(x).shape[2:] == size
        return
    for ask in (net, net.dense, net.encode):
        with pytest.raises(ConfigError, match=r"multiples of \(32, 32, 32\)"):
            ask(x)


def test_a_slice_encoder_leaves_the_depth_free():
    net = segmentation_net(DECODERS["albunet"], slender("resnet34_slice"), 3, device="meta").eval()
    assert net.dense(torch.empty(1, 1, 5, 32, 64, device="meta")).shape[2:] == (5, 32, 64)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_unet_settings_reach_it(norm):
    net = segmentation_net(partial(UNet, most=24, least=12, norm=norm), slender("resnet10"), 2)
    found = {type(m) for m in net.decoder.modules() if "Norm" in type(m).__name__}
    assert found == {nn.BatchNorm2d if norm == "batch" else nn.InstanceNorm2d}
    widths = [m.out_channels for m in net.decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert widths == [24, 12, 12, 12, 12]


# Each check can say no: a sound decoder, and one that breaks each part.


class Sound(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.conv, self.channels = nn.Conv2d(encoder.channels[0], 4, 3, padding=1), 4

    def forward(self, levels):
        return self.conv(nn.functional.interpolate(levels[0], scale_factor=2))


class WrongGrid(Sound):
    def forward(self, levels):
        return self.conv(levels[0])


class WrongChannels(Sound):
    def forward(self, levels):
        return super().forward(levels)[:, :3]


class Idle(Sound):
    def __init__(self, encoder):
        super().__init__(encoder)
        self.unused = nn.Parameter(torch.ones(1))


class Noisy(Sound):
    def forward(self, levels):
        out = super().forward(levels)
        return out + torch.rand_like(out)


class LooksAtBatch(Sound):
    def forward(self, levels):
        return super().forward(levels) - super().forward(levels).mean()


class Writes(Sound):
    def forward(self, levels):
        out = super().forward(levels)
        levels[0].add_(1)
        return out


class NumbersOnMeta(Sound):
    def __init__(self, encoder):
        super().__init__(encoder)
        self.register_buffer("table", torch.ones(3, device="cpu"))


def test_suite_passes_the_sound_decoder():
    check_decoder(Sound, tiny_encoder, 2)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (WrongGrid, "declared"),
        (WrongChannels, "declared|channels"),
        (Idle, "no gradient"),
        (Noisy, "differ"),
        (LooksAtBatch, "other cases"),
        (Writes, "changed the levels"),
        (NumbersOnMeta, "holds numbers"),
    ],
)
def test_suite_refuses_a_broken_decoder(broken, says):
    with pytest.raises(AssertionError, match=says):
        check_decoder(broken, tiny_encoder, 2)
