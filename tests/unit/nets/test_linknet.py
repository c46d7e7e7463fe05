from __future__ import annotations

import pytest
import torch

from allograft.core.errors import ConfigError
from allograft.core.task import Task
from allograft.nets.build import build_network
from allograft.nets.decoders.linknet import LinkNet
from allograft.nets.encoders.deepbet import Deepbet
from allograft.nets.encoders.resnet import ResNet
from allograft.nets.network import Decoder, parameter_count, stage_of
from allograft.nets.spec import NetSpec
from allograft.testing.encoders import check_encoder


@pytest.mark.parametrize("dims", [2, 3])
def test_the_encoder_keeps_the_contract(dims: int) -> None:
    check_encoder(Deepbet, dims, size=64)


def test_the_encoder_has_the_published_count_and_refuses_drop_path() -> None:
    assert parameter_count(Deepbet()) == 2_076_016
    assert parameter_count(LinkNet(Deepbet(), channels=2)) == 2_126_258 - 2_076_016
    with pytest.raises(ConfigError, match="drop_path"):
        Deepbet(drop_path=0.1)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_decoder_gives_features_on_the_images_grid(dims: int) -> None:
    encoder = Deepbet(dims=dims, in_channels=2)
    decoder = LinkNet(encoder)
    assert isinstance(decoder, Decoder)
    out = decoder(encoder(torch.randn(2, 2, *[64] * dims)))
    assert out.shape == (2, decoder.channels, *[64] * dims)
    out.square().mean().backward()
    assert all(p.grad is not None for p in (*encoder.parameters(), *decoder.parameters()))


def test_its_last_layer_starts_as_nearest_neighbour_enlargement() -> None:
    decoder = LinkNet(Deepbet())
    x = torch.randn(1, 8, 3, 3, 3)
    nearest = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
    torch.testing.assert_close(decoder.tp_conv2(x), nearest)


def test_other_strides_are_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match='take the decoder "unet"'):
        LinkNet(ResNet(18))


def test_the_last_layer_counts_as_head_and_every_tensor_has_one_stage() -> None:
    from allograft import catalog

    spec = NetSpec(encoder="deepbet", decoder="linknet", dims=3)
    task = Task(kind="segmentation", classes=("a", "b", "c"), head="t")
    net = build_network(spec, {"t": task}, in_channels=1, seed=0, parts=catalog.parts(spec))
    stages = {key: stage_of(key, net.stages()) for key in net.state_dict()}
    assert stages["decoder.tp_conv2.weight"] == "head.decoder"
    assert stages["decoder.up0.conv1.0.weight"] == "decoder"
    assert net(torch.randn(1, 1, 64, 64, 64)).logits["t"].shape == (1, 3, 64, 64, 64)
