"""ResNet: equal to torchvision in names and function, to MedicalNet in names, counts and shortcuts."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from allograft.core.errors import ConfigError
from allograft.nets.encoders.resnet import BLOCKS, ResNet, ZeroFill
from allograft.nets.layers import DropPath, subsample
from allograft.nets.network import parameter_count

MEDICALNET = {  # depth: parameters, state-dict entries (encoder only)
    10: (14_355_520, 72),
    18: (32_986_176, 102),
    34: (63_295_808, 198),
    50: (46_155_072, 318),
    101: (85_201_216, 624),
    152: (117_359_936, 930),
    200: (126_559_552, 1218),
}


def randomise(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)


@pytest.mark.parametrize("depth", MEDICALNET)
def test_medicalnet_counts(depth):
    with torch.device("meta"):
        net = ResNet(depth, "medicalnet", dims=3, in_channels=1)
    assert (parameter_count(net), len(net.state_dict())) == MEDICALNET[depth]
    assert net.strides == (2, 4, 8, 8, 8)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_names_and_shapes_are_torchvisions(depth):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"resnet{depth}")().state_dict()
        ours = ResNet(depth).state_dict()
    expected = {k: v.shape for k, v in theirs.items() if not k.startswith("fc.")}
    assert {k: v.shape for k, v in ours.items()} == expected


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_equals_torchvision_at_all_levels(depth):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f"resnet{depth}")().eval()
    randomise(theirs)
    ours = ResNet(depth).eval()
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        stem = theirs.relu(theirs.bn1(theirs.conv1(x)))
        expected = [stem]
        out = theirs.maxpool(stem)
        for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
            out = layer(out)
            expected.append(out)
        levels = ours(x)
        logits = theirs.fc(levels[-1].mean((2, 3)))
        assert torch.equal(logits, theirs(x)) or torch.allclose(logits, theirs(x), rtol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(levels, expected, strict=True))


def test_the_variants_share_names_but_not_function():
    torch.manual_seed(0)
    plain, dilated = ResNet(10, width=0.25).eval(), ResNet(10, "medicalnet", width=0.25).eval()
    dilated.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        a, b = plain(x), dilated(x)
    assert torch.equal(a[2], b[2])
    assert a[4].shape[-1] == 2
    assert b[4].shape[-1] == 8
    assert not torch.allclose(a[4].mean((2, 3)), b[4].mean((2, 3)), rtol=0.05)


@pytest.mark.parametrize(("dims", "size"), [(2, (37, 50)), (3, (19, 24, 33))])
@pytest.mark.parametrize("depth", [10, 18, 50])
def test_medicalnet_output_is_an_eighth_rounded_up(depth, dims, size):
    net = ResNet(depth, "medicalnet", dims=dims, in_channels=1, width=0.125).eval()
    with torch.no_grad():
        assert tuple(net(torch.randn(1, 1, *size))[-1].shape[2:]) == tuple(-(-n // 8) for n in size)


@pytest.mark.parametrize("depth", [10, 50])
def test_medicalnet_dilates_stages_3_and_4(depth):
    with torch.device("meta"):
        net = ResNet(depth, "medicalnet", dims=3)
    for stage, dilation in zip(("layer1", "layer2", "layer3", "layer4"), (1, 1, 2, 4), strict=True):
        for name, layer in net.get_submodule(stage).named_modules():
            if isinstance(layer, nn.Conv3d) and layer.kernel_size == (3, 3, 3):
                assert layer.dilation == layer.padding == (dilation,) * 3, name
    second = net.layer2[0]
    strided = second.conv1 if depth == 10 else second.conv2
    assert strided.stride == (2, 2, 2)


def test_type_a_equals_average_pooling_of_kernel_1_with_zero_fill():
    x = torch.randn(2, 3, 7, 8, 9)
    pooled = nn.functional.avg_pool3d(x, kernel_size=1, stride=2)
    out = ZeroFill((3, 5), 2)(x)
    assert torch.equal(out[:, :3], pooled)
    assert not out[:, 3:].any()
    assert torch.equal(subsample(x[:, :, 0], 2), nn.functional.avg_pool2d(x[:, :, 0], 1, stride=2))


def test_gradients_pass_through_type_a_shortcuts():
    """The released code cuts them with .data, so all gradient would go through the branches."""
    x = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    ZeroFill((2, 4), 2)(x).sum().backward()
    assert torch.equal(x.grad[:, :, ::2, ::2, ::2], torch.ones(1, 2, 2, 2, 2))
    assert x.grad.sum() == 16

    net = ResNet(18, "medicalnet", dims=3, in_channels=1, width=0.125).eval()
    for stage in (net.layer2, net.layer3, net.layer4):  # silence the branches: only shortcuts remain
        for block in stage:
            nn.init.zeros_(block.bn2.weight)
    net(torch.randn(1, 1, 16, 16, 16))[-1].sum().backward()
    assert net.conv1.weight.grad.abs().sum() > 0


def test_gradients_pass_through_type_b_shortcuts():
    net = ResNet(50, "medicalnet", dims=3, in_channels=1, width=0.125).eval()
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):  # silence the branches: only shortcuts remain
        for block in stage:
            nn.init.zeros_(block.bn3.weight)
    net(torch.randn(1, 1, 16, 16, 16))[-1].square().sum().backward()
    assert net.conv1.weight.grad.abs().sum() > 0
    projections = [stage[0].downsample[0].weight for stage in (net.layer1, net.layer2, net.layer3, net.layer4)]
    assert all(bool(weight.grad.any()) for weight in projections)
    assert not net.layer4[1].conv3.weight.grad.any()  # the branches themselves are silent


def test_a_file_of_type_a_does_not_fit_type_b():
    with torch.device("meta"):
        a, b = (ResNet(18, v, dims=3).state_dict() for v in ("medicalnet", "torchvision"))
    assert {k for k in b if k not in a} == {k for k in b if ".downsample." in k}
    assert len(set(b) - set(a)) == 18


@pytest.mark.parametrize("dims", [2, 3])
def test_convolutions_start_kaiming_fan_out(dims):
    torch.manual_seed(0)
    weight = ResNet(10, dims=dims, width=0.5).layer4[0].conv2.weight
    expected = (2 / (weight.shape[0] * 3**dims)) ** 0.5
    assert float(weight.detach().std()) == pytest.approx(expected, rel=0.01)


def test_width_multiplies_channels():
    with torch.device("meta"):
        assert ResNet(50, width=0.25).channels == (16, 64, 128, 256, 512)


def test_drop_path_rises_to_its_rate_and_acts_only_in_training():
    net = ResNet(18, width=0.125, drop_path=0.2)
    rates = [m.rate for m in net.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.2 * i / 7 for i in range(8)])
    x = torch.randn(2, 3, 32, 32)
    same = ResNet(18, width=0.125).eval()
    same.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(x)[-1], same(x)[-1])


def test_drop_path_keeps_the_mean_and_drops_whole_cases():
    torch.manual_seed(0)
    out = DropPath(0.25).train()(torch.ones(4000, 2, 3, 3))
    per_case = out.flatten(1)
    assert torch.equal(per_case.min(1).values, per_case.max(1).values)
    assert set(per_case[:, 0].tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert float(out.mean()) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("depth", BLOCKS)
def test_small_variant_keeps_the_resolution_of_the_stem(depth):
    with torch.device("meta"):
        net = ResNet(depth, "small")
    assert net.strides == (1, 1, 2, 4, 8)
    assert net.conv1.kernel_size == (3, 3)


@pytest.mark.parametrize(
    ("args", "settings", "says"),
    [((20,), {}, "depth"), ((18, "keras"), {}, "variant"), ((18,), {"dims": 4}, "dims")],
)
def test_unknown_settings_are_refused(args, settings, says):
    with pytest.raises(ConfigError, match=says):
        ResNet(*args, **settings)
