"""The dense net with separable convolutions: the parameter formula, channels c + n g, the layer counter."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from allograft.core.errors import ConfigError
from allograft.nets.decoders.dense import DenseDecoder
from allograft.nets.encoders.dense import Dense, DenseForm, SeparableConv, convolutions
from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.layers import conv
from allograft.nets.network import Network, parameter_count

FORM = DenseForm((2, 3, 1), 4, 6)


@pytest.mark.parametrize("dims", [2, 3])
def test_separable_numbers_are_the_formulas_share(dims: int) -> None:
    inside, out, kernel = 12, 20, 3
    share = parameter_count(SeparableConv(dims, (inside, out))) / parameter_count(conv(dims, (inside, out), kernel))
    assert share == pytest.approx(1 / out + 1 / kernel**dims)


def test_separable_equals_a_loop_over_channels_and_places_on_synthetic_values() -> None:
    torch.manual_seed(0)
    layer, x = SeparableConv(3, (2, 3)).double(), torch.randn(1, 2, 3, 4, 3).double()
    depthwise, pointwise = (p.detach() for p in layer.parameters())
    padded = nn.functional.pad(x, [1] * 6)
    expected = torch.zeros(1, 3, 3, 4, 3).double()
    for c, d, h, w in product(range(2), range(3), range(4), range(3)):
        window = padded[0, c, d : d + 3, h : h + 3, w : w + 3]
        response = (window * depthwise[c, 0]).sum()
        for o in range(3):
            expected[0, o, d, h, w] += pointwise[o, c, 0, 0, 0] * response
    assert torch.allclose(layer(x), expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_channels_are_c_plus_n_g_and_transitions_halve(dims: int) -> None:
    with torch.device("meta"):
        net = Dense(FORM, dims=dims)
    one = 6 + 2 * 4
    two = one // 2 + 3 * 4
    assert net.channels == (one, two, two // 2 + 4)
    assert net.strides == (1, 2, 4)


def test_the_counter_counts_every_convolution() -> None:
    with torch.device("meta"):
        encoder = Dense(FORM)
        net = Network(encoder, {"mask": PointwiseHead(3, encoder.channels[0], 2)}, DenseDecoder(encoder))
    layers, steps = sum(FORM.blocks), len(FORM.blocks) - 1
    assert convolutions(encoder) == 1 + 3 * layers + steps
    assert convolutions(encoder, separable=False) == 1 + 2 * layers + steps
    assert convolutions(net) == convolutions(encoder) + 2 * steps + 1
    assert convolutions(nn.Sequential(nn.ConvTranspose3d(1, 1, 2), nn.Linear(1, 1))) == 1


@pytest.mark.parametrize("dims", [2, 3])
def test_the_output_has_the_images_size_for_multiples_of_the_largest_stride(dims: int) -> None:
    with torch.device("meta"):
        encoder = Dense(FORM, dims=dims)
        decoder = DenseDecoder(encoder)
        net = Network(encoder, {"mask": PointwiseHead(dims, decoder.channels, 2)}, decoder).eval()
        assert net(torch.empty(1, 1, *[12] * dims)).logits["mask"].shape[2:] == (12,) * dims
        with pytest.raises(ConfigError, match="multiples of"):
            net(torch.empty(1, 1, *[14] * dims))


def test_drop_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="drop_path"):
        Dense(drop_path=0.1)
