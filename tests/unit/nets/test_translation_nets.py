"""Generators and PatchGAN: sizes, receptive field, where they begin; on synthetic images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from allograft.core.errors import ConfigError
from allograft.nets.generator import ResNetGenerator, UNetGenerator
from allograft.nets.patch_gan import PatchGAN, receptive_field

SIZES = [(32, 32), (17, 30), (16, 24, 20), (9, 12, 11)]


@pytest.mark.parametrize("size", SIZES)
def test_generators_keep_any_size(size: tuple[int, ...]) -> None:
    image = torch.randn(2, 2, *size)
    for made in (
        ResNetGenerator(len(size), 2, width=2, blocks=1)(image),
        UNetGenerator(len(size), 2, width=2, levels=3)(image),
    ):
        assert made.shape == image.shape
        assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize("dims", [2, 3])
def test_a_residual_generator_begins_as_the_identity_and_still_learns(dims: int) -> None:
    net, image = ResNetGenerator(dims, 1, width=2, blocks=1, residual=True), torch.randn(2, 1, *[8] * dims)
    assert torch.equal(net(image), image)
    net(image).square().sum().backward()
    last = net.layers[-1]
    assert isinstance(last, nn.Conv2d | nn.Conv3d)
    assert last.weight.grad is not None
    assert bool(last.weight.grad.any())
    assert not torch.equal(ResNetGenerator(dims, 1, width=2, blocks=1)(image), image)


def test_the_papers_networks_have_the_sizes_that_their_authors_print() -> None:
    """Millions of parameters for three channels; the U-Net's norm is another one, so only to a tenth."""
    with torch.device("meta"):
        nets = ResNetGenerator(2, 3), PatchGAN(2, 3), UNetGenerator(2, 3)
    counts = [sum(p.numel() for p in net.parameters()) / 1e6 for net in nets]
    assert [round(counts[0], 3), round(counts[1], 3), round(counts[2], 1)] == [11.378, 2.765, 54.4]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_judgement_sees_16_34_or_70_elements_and_no_more(depth: int) -> None:
    net = PatchGAN(2, 1, width=2, depth=depth).double()
    for i, layer in enumerate(net.layers):
        if isinstance(layer, nn.InstanceNorm2d):
            net.layers[i] = nn.Identity()
    image = torch.zeros(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    found = net(image)
    found[0, 0, found.shape[2] // 2, found.shape[3] // 2].backward()
    assert image.grad is not None
    seen = image.grad[0, 0].abs().sum(0).nonzero().flatten()
    assert int(seen.max() - seen.min()) + 1 == receptive_field(depth) == {1: 16, 2: 34, 3: 70}[depth]


@pytest.mark.parametrize("dims", [2, 3])
def test_images_too_small_for_the_depth_are_refused_with_what_fits(dims: int) -> None:
    net = PatchGAN(dims, 1, width=2, depth=3)
    assert net(torch.zeros(1, 1, *[24] * dims)).shape == (1, 1, *[1] * dims)
    with pytest.raises(ConfigError, match=r"at least 24 elements.*Set depth: 2, or train on larger images"):
        net(torch.zeros(1, 1, *[23] * dims))
    with pytest.raises(ConfigError, match=r"Train on larger images"):
        net(torch.zeros(1, 1, *[5] * dims))
