"""AlbuNet-3D34: the paper's counts, slices encoded alone, 2-D weights loaded unchanged (Wacker and others)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from allograft.nets.decoders.albunet import AlbuNet
from allograft.nets.encoders.resnet import ResNet
from allograft.nets.heads.linear import LinearHead
from allograft.nets.heads.voxel import PointwiseHead
from allograft.nets.network import Network, parameter_count
from allograft.starts.full import Full
from allograft.weights.apply import apply
from allograft.weights.rules import Action
from tiny_source import tiny_source


def albunet(dims: int, *, depth: int = 34, width: float = 1.0, classes: int = 4) -> Network:
    encoder = ResNet(depth, "slice", dims=dims, in_channels=3, width=width)
    decoder = AlbuNet(encoder)
    return Network(encoder, {"mask": PointwiseHead(dims, decoder.channels, classes)}, decoder)


def randomise(net: nn.Module) -> None:
    """Random norms, so that a wrong one shows; convolutions keep theirs."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)


def solid(flat: Network, solid_net: Network) -> Network:
    """Give a 3-D network the tensors of a 2-D one, kernels with a depth axis of 1."""
    shapes = {key: value.shape for key, value in solid_net.state_dict().items()}
    found = {key: value.reshape(shapes[key]) for key, value in flat.state_dict().items()}
    solid_net.load_state_dict(found, strict=False)
    missing = set(shapes) - set(found)
    assert all(".mix4" in key or key.split(".")[2] == "1" for key in missing), missing
    return solid_net


def without_mixing(net: Network) -> Network:
    """Take out the 3 x 1 x 1 units, the only ones in which slices meet."""
    decoder = net.decoder
    assert isinstance(decoder, AlbuNet)
    decoder.mix4 = nn.Identity()
    for part in (decoder.up4, decoder.up2, decoder.last):
        part[1] = nn.Identity()
    return net


def test_counts_are_the_papers() -> None:
    with torch.device("meta"):
        net = albunet(3)
    encoder = parameter_count(net.encoder)
    convolutions = sum(p.numel() for p in net.encoder.parameters() if p.ndim > 1)
    assert (encoder, convolutions) == (21_284_672, 21_267_648)
    assert (parameter_count(net) - encoder, parameter_count(net)) == (5_388_500, 26_673_172)


def test_the_converted_encoder_counts_what_torchvisions_does() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.resnet34().state_dict()
        ours = ResNet(34, "slice", dims=3).state_dict()
    expected = {k: v.numel() for k, v in theirs.items() if not k.startswith("fc.")}
    assert {k: v.numel() for k, v in ours.items()} == expected, "a bias or a deeper kernel was added"


@pytest.mark.parametrize("depth", [18, 50])
def test_each_slice_is_encoded_as_the_2d_net_does_it_on_synthetic_images(depth: int) -> None:
    """The released converter adds random biases, which fails here."""
    torch.manual_seed(0)
    flat, volume = ResNet(depth, "slice", width=0.25).eval(), ResNet(depth, "slice", dims=3, width=0.25).eval()
    randomise(flat)
    volume.load_state_dict({k: v.unsqueeze(2) if v.ndim == 4 else v for k, v in flat.state_dict().items()})
    x = torch.randn(2, 3, 5, 64, 96)
    with torch.no_grad():
        levels = volume(x)
        for d in range(5):
            for level, expected in zip(levels, flat(x[:, :, d]), strict=True):
                assert float((level[:, :, d] - expected).abs().max()) < 1e-6 * max(1.0, float(expected.abs().max()))
    volume.conv1.bias = nn.Parameter(torch.full((volume.channels[0],), 0.5))
    with torch.no_grad():
        assert not torch.allclose(volume(x)[-1][:, :, 0], flat(x[:, :, 0])[-1], atol=1e-3)


def test_without_its_depth_units_the_whole_net_works_slice_by_slice_on_synthetic_images() -> None:
    torch.manual_seed(0)
    flat = albunet(2, depth=10, width=0.125).eval()
    randomise(flat)
    net = solid(flat, without_mixing(albunet(3, depth=10, width=0.125))).eval()
    x = torch.randn(1, 3, 3, 64, 32)
    with torch.no_grad():
        found = net(x).logits["mask"]
        for d in range(3):
            expected = flat(x[:, :, d]).logits["mask"]
            assert float((found[:, :, d] - expected).abs().max()) < 2e-6 * float(expected.abs().max())


def test_the_depth_units_mix_slices_on_synthetic_images() -> None:
    torch.manual_seed(0)
    net = albunet(3, depth=10, width=0.125).eval()
    x = torch.randn(1, 3, 4, 32, 32)
    other = x.clone()
    other[:, :, 1] = 0
    with torch.no_grad():
        moved = (net.dense(x) - net.dense(other)).abs().amax((0, 1, 3, 4))
        still = (net.encode(x)[-1] - net.encode(other)[-1]).abs().amax((0, 1, 3, 4))
    assert moved[0] > 0
    assert torch.equal(still > 0, torch.tensor([False, True, False, False]))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("fill", ["average", "centre", "slice"])
def test_2d_weights_load_unchanged_whatever_the_fill(fill: str, channels: int, tmp_path: Path) -> None:
    """Torchvision's ResNet as a source; four modalities by channel adaptation."""
    torch.manual_seed(0)
    donor = ResNet(10, width=0.25)
    randomise(donor)
    head = {"label": LinearHead(donor.channels[-1], 2)}
    source = tiny_source(tmp_path, Network(donor, head), encoder="resnet10")
    encoder = ResNet(10, "slice", dims=3, in_channels=channels, width=0.25)
    net = Network(encoder, {"mask": PointwiseHead(3, 16, 2)}, AlbuNet(encoder))
    plan = Full.model_validate({"fill": fill}).plan(net, source)
    plan.require_sound()
    apply(plan, net, source, seed=0)
    state, given = encoder.state_dict(), donor.state_dict()
    assert {e.action for e in plan.entries if e.stage == "decoder"} == {Action.FRESH}
    for key, value in given.items():
        if key == "conv1.weight" and channels == 4:
            assert torch.allclose(state[key][:, 1:2, 0], value.sum(1, keepdim=True) / 4, atol=1e-6)
        else:
            assert torch.equal(state[key].reshape(value.shape), value), key
