"""MedicalNet's segmentation head: the released counts and names; interpolation commutes with the head."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from allograft.core.errors import ConfigError
from allograft.nets.decoders.medicalnet import MedicalNetHead
from allograft.nets.encoders.resnet import ResNet
from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.network import Network, parameter_count
from allograft.testing.tiny import TinyEncoder


@pytest.mark.parametrize(("depth", "count"), [(18, 158_944), (34, 158_944), (50, 552_160)])
def test_counts_are_the_released_heads_but_for_the_last_bias(depth: int, count: int) -> None:
    with torch.device("meta"):
        decoder = MedicalNetHead(ResNet(depth, "medicalnet", dims=3, in_channels=1))
        head = PointwiseHead(3, decoder.channels, 2)
    assert parameter_count(decoder) + parameter_count(head) == count + 2


def test_names_are_the_released_ones() -> None:
    with torch.device("meta"):
        names = set(MedicalNetHead(ResNet(18, "medicalnet", dims=3)).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv_seg.0.weight", "conv_seg.0.bias", "conv_seg.3.weight"}
    assert names == expected | {f"conv_seg.{i}.{part}" for i in (1, 4) for part in norm}


@pytest.mark.parametrize("dims", [2, 3])
def test_logits_are_the_released_heads_interpolated_on_synthetic_images(dims: int) -> None:
    """The released order (kernel 1 at stride 4) followed by linear interpolation is the independent judge."""
    torch.manual_seed(0)
    encoder = ResNet(10, "medicalnet", dims=dims, in_channels=1, width=0.125)
    decoder = MedicalNetHead(encoder)
    net = Network(encoder, {"mask": PointwiseHead(dims, 32, 3)}, decoder).eval()
    released = nn.Sequential(*decoder.conv_seg, net.heads["mask"].conv)
    x = torch.randn(2, 1, *[24] * dims)
    with torch.no_grad():
        small = released(net.encode(x)[-1])
        assert small.shape[2:] == (6,) * dims
        mode = "bilinear" if dims == 2 else "trilinear"
        expected = F.interpolate(small, scale_factor=4, mode=mode, align_corners=False)
        assert torch.allclose(net(x).logits["mask"], expected, atol=1e-5)
        assert not torch.allclose(net(x).logits["mask"], F.interpolate(small, scale_factor=4), atol=1e-3)


def test_axes_that_were_never_divided_are_not_enlarged() -> None:
    with torch.device("meta"):
        encoder = ResNet(10, "slice", dims=3, in_channels=1)
        net = Network(encoder, {"mask": PointwiseHead(3, 32, 2)}, MedicalNetHead(encoder)).eval()
        assert net.dense(torch.empty(1, 1, 3, 32, 64)).shape == (1, 32, 3, 32, 64)


def test_a_deepest_level_of_odd_stride_is_refused() -> None:
    encoder = TinyEncoder(2)
    encoder.strides = (1, 2, 3)
    with pytest.raises(ConfigError, match="1 or even"):
        MedicalNetHead(encoder)
