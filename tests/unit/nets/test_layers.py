"""Layers: sizes kept with a kernel per axis, the variance that fresh values give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from allograft.nets.layers import conv, in_plane, init_kaiming, max_pool, subsample, up_conv


@pytest.mark.parametrize(("kernel", "dilation"), [((1, 3, 5), 1), (3, (1, 2, 4)), (7, 1)])
def test_a_convolution_keeps_the_size_along_each_axis(kernel, dilation):
    layer = conv(3, (2, 3), kernel, dilation=dilation)
    assert layer(torch.randn(1, 2, 7, 8, 9)).shape == (1, 3, 7, 8, 9)


def test_in_plane_leaves_the_depth_alone():
    assert (in_plane(2, 3), in_plane(3, 3)) == (3, (1, 3, 3))
    x = torch.randn(1, 2, 5, 8, 6)
    assert max_pool(3, in_plane(3, 2), stride=in_plane(3, 2))(x).shape == (1, 2, 5, 4, 3)
    assert torch.equal(subsample(x, in_plane(3, 2)), x[..., ::2, ::2])


@pytest.mark.parametrize("factor", [2, (1, 2, 2)])
def test_a_fresh_transposed_convolution_doubles_the_mean_square_as_he_initialisation_does(factor):
    torch.manual_seed(0)
    layer = up_conv(3, (64, 32), factor)
    assert isinstance(layer, nn.ConvTranspose3d)
    x = torch.randn(2, 64, 4, 8, 8)
    init_kaiming(layer)
    assert float(layer(x).square().mean().detach()) == pytest.approx(2, rel=0.1)
