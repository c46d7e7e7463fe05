"""timm networks in 3-D: the equalities with the 2-D network, judged by that network, and refusals by name."""

from __future__ import annotations

from functools import lru_cache
from types import MethodType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from allograft.catalog import encoder_factory
from allograft.core.errors import ConfigError
from allograft.nets.encoders.timm_encoder import TimmEncoder
from allograft.nets.encoders.twins import Conv3dSame, SqueezeExcite
from allograft.nets.network import axis_strides

CONVOLUTIONS_ALONE = {"mobilenetv2_050": 0, "regnetx_002": 0, "tf_efficientnet_lite0": 1}
"""Nets in which nothing but convolutions touches the depth, and whether their padding is TensorFlow's."""

FAST = [
    *CONVOLUTIONS_ALONE,
    "resnet18",
    "resnet50d",  # a mean pooling in the shortcuts
    "seresnet18",
    "efficientnet_b0",
    "tf_efficientnet_b0",
    "mnasnet_small",
    "mobilenetv3_small_050",  # a layer after the pooling
    "tf_mobilenetv3_small_075",
    "densenet121",
    "regnety_002",
]
NAMES = [*FAST, pytest.param("vgg11_bn", marks=pytest.mark.slow)]  # 129 million numbers
SHALLOW = ["resnet18", "mobilenetv2_050", "tf_efficientnet_lite0", "densenet121"]


@pytest.fixture(name="flat", scope="module", params=NAMES)
def _flat(request):
    """The 2-D network of each name in turn: pytest runs all that share one together."""
    return flat_net(request.param)


@lru_cache(maxsize=2)
def flat_net(name, in_channels=2):
    """Return the 2-D network, random down to its norm statistics."""
    torch.manual_seed(3)
    net = TimmEncoder(name, in_channels=in_channels).eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
    return net


def by_hand(value, shape, fill):
    """Return a 2-D tensor as a 3-D network needs it, typed from methods.md 2.2."""
    if value.shape == shape:
        return value
    taps = shape[2]
    assert value.shape == (*shape[:2], *shape[3:])
    if fill == "average":
        return torch.stack([value / taps] * taps, dim=2)
    zero = torch.zeros_like(value)
    return torch.stack([value if i == taps // 2 else zero for i in range(taps)], dim=2)


def solid_net(flat, depth, fill="centre"):
    """Return the 3-D network with the numbers of a 2-D one."""
    with torch.device("meta"):
        net = TimmEncoder(flat.name, depth, dims=3, in_channels=flat.in_channels).eval()
    state = net.state_dict()
    assert list(state) == list(flat.state_dict())  # the names are the 2-D network's, in its order
    net.load_state_dict({k: by_hand(v, state[k].shape, fill) for k, v in flat.state_dict().items()}, assign=True)
    return net


def gap(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


def repeated(image, depth):
    return image[:, :, None].expand(-1, -1, depth, -1, -1).contiguous()


def edge_convolution(self, x):
    """Convolve with the border slices repeated beyond the volume, and zeros beyond each slice as before."""
    pads = []
    for n, k, s, p in zip(x.shape[2:], self.kernel_size, self.stride, self.padding, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads.append((total // 2, total - total // 2) if isinstance(self, Conv3dSame) else (p, p))
    x = F.pad(x, (0, 0, 0, 0, *pads[0]), mode="replicate")
    x = F.pad(x, (*pads[2], *pads[1], 0, 0))
    return F.conv3d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def with_repeated_borders(net):
    for layer in net.modules():
        if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1:
            layer.forward = MethodType(edge_convolution, layer)
    return net


@torch.no_grad()
def test_slice_gives_the_2d_networks_levels_for_every_slice(flat):
    net = solid_net(flat, "slice")
    x = torch.randn(1, 2, 3, 32, 32)
    by_slice = [flat(x[:, :, d]) for d in range(3)]
    for i, level in enumerate(net(x)):
        if flat.strides[i]:
            assert gap(level, torch.stack([levels[i] for levels in by_slice], dim=2)) < 1e-5
    assert gap(net(x[:, :, :1])[-1].flatten(), by_slice[0][-1].flatten()) < 1e-5  # its own pooling too


@torch.no_grad()
def test_cube_of_centred_kernels_gives_the_2d_levels_on_a_volume_of_equal_slices(flat):
    image = torch.randn(1, 2, 32, 32)
    for found, wanted in zip(solid_net(flat, "cube")(repeated(image, 64)), flat(image), strict=True):
        assert gap(found, wanted[:, :, None].expand_as(found)) < 1e-5  # all slices, borders included


@torch.no_grad()
def test_cube_of_averaged_kernels_does_so_where_borders_are_repeated(flat):
    image = torch.randn(1, 2, 32, 32)
    net = with_repeated_borders(solid_net(flat, "cube", "average"))
    for found, wanted in zip(net(repeated(image, 32)), flat(image), strict=True):
        assert gap(found, wanted[:, :, None].expand_as(found)) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", SHALLOW)
def test_cube_of_averaged_kernels_does_so_away_from_the_borders(name):
    flat = flat_net(name)
    image = torch.randn(1, 2, 32, 32)
    depth = 128
    levels = solid_net(flat, "cube", "average")(repeated(image, depth))
    for i in (0, 1):
        wanted, middle = flat(image)[i], levels[i].shape[2] // 2
        assert gap(levels[i][:, :, middle], wanted) < 1e-5
        assert gap(levels[i][:, :, -1], wanted) > 1e-2  # zeros beyond the last slice


@torch.no_grad()
@pytest.mark.parametrize("name", CONVOLUTIONS_ALONE)
def test_cube_of_centred_kernels_gives_every_s_th_slice_of_any_volume(name):
    flat = flat_net(name)
    x = torch.randn(1, 2, 64, 32, 32)
    for i, level in enumerate(solid_net(flat, "cube")(x)):
        stride = flat.strides[i]
        for d in range(0, level.shape[2], max(1, level.shape[2] // 2)):
            at = stride * d + (stride - 1) * CONVOLUTIONS_ALONE[name]
            assert gap(level[:, :, d], flat(x[:, :, at])[i]) < 1e-5


@torch.no_grad()
def test_pooling_over_depth_mixes_slices_as_the_docstring_says():
    flat = flat_net("resnet18")
    x = torch.randn(1, 2, 64, 32, 32)
    levels = solid_net(flat, "cube")(x)
    assert gap(levels[0][:, :, 3], flat(x[:, :, 6])[0]) < 1e-5
    assert gap(levels[1][:, :, 3], flat(x[:, :, 12])[1]) > 1e-2


@pytest.mark.parametrize("depth", ["slice", "cube"])
@pytest.mark.parametrize("name", [*NAMES, "resnext50_32x4d"])
def test_layers_keep_their_settings(name, depth):
    with torch.device("meta"):
        flat, net = TimmEncoder(name), TimmEncoder(name, depth, dims=3)
    solid = dict(net.named_modules())
    cube = depth == "cube"
    for path, old in flat.named_modules():
        new = solid[path]
        assert "2d" not in type(new).__name__ or "SelectAdaptive" in type(new).__name__
        if isinstance(old, nn.Conv2d):
            assert (new.bias is None) == (old.bias is None), path  # the released code of Wacker et al. adds one
            for of in ("kernel_size", "stride", "dilation"):
                first = 1 if not cube or "pre_logits" in path else getattr(old, of)[0]
                assert getattr(new, of) == (first, *getattr(old, of)), path
            assert new.groups == old.groups
            assert new.padding == (old.padding[0] if cube else 0, *old.padding), path
        if isinstance(old, nn.BatchNorm2d):
            assert (new.eps, new.momentum, new.affine) == (old.eps, old.momentum, old.affine)
            assert [type(m) for m in new.children()] == [type(m) for m in old.children()]
    if not cube:
        assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in flat.parameters())
        assert axis_strides(net) == tuple((1, s, s) if s else (0, 0, 0) for s in flat.strides)
    else:
        assert net.strides == flat.strides


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050"])
def test_fresh_kernels_keep_the_2d_numbers_or_their_variance(name):
    nets = []
    for depth, dims in (("cube", 2), ("slice", 3), ("cube", 3), ("cube", 3)):
        torch.manual_seed(5)
        nets.append(TimmEncoder(name, depth, dims=dims).state_dict())
    flat, thin, cube, again = nets
    for key, value in flat.items():
        assert torch.equal(cube[key], again[key])
        assert torch.equal(thin[key].reshape(value.shape), value)
        taps = cube[key].shape[2] if cube[key].ndim == 5 else 1
        if taps == 1:
            assert torch.equal(cube[key].reshape(value.shape), value)
        elif value.numel() > 2000:
            assert float(cube[key].std() * taps**0.5 / value.std()) == pytest.approx(1, abs=0.06)
            assert not torch.equal(cube[key][:, :, 0], cube[key][:, :, 1])


def test_training_and_stochastic_depth_reach_the_3d_network():
    torch.manual_seed(0)
    net = TimmEncoder("efficientnet_b0", "slice", dims=3, in_channels=1, drop_path=0.5)
    x = torch.randn(2, 1, 2, 64, 64)
    first, again = net(x)[-1], net(x)[-1]
    assert not torch.equal(first, again)
    assert int(net.state_dict()["model.bn1.num_batches_tracked"]) == 2
    assert {m.axes for m in net.modules() if isinstance(m, SqueezeExcite)} == {(3, 4)}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("convnext_atto", "ConvNeXt is none of the families.*DenseNet"),
        ("vit_tiny_patch16_224", "VisionTransformer is none of the families"),
        ("repvgg_a0", "ByobNet is none"),
        ("resnet50_gn", r"layer bn1 has none \(GroupNorm\)"),
        ("resnetblur18", r"BlurPool2d"),
        ("ecaresnet26t", r"layer layer1.0.se has none \(EcaModule\)"),
        ("mixnet_s", r"layer blocks.1.0.conv_pw has none \(MixedConv2d\)"),
        ("efficientnet_cc_b0_4e", "CondConvResidual"),
        ("efficientnet_b0_gn", "GroupNormAct"),
    ],
)
def test_what_has_no_exact_3d_form_is_refused_by_name(name, says):
    with torch.device("meta"), pytest.raises(ConfigError, match=f'timm:{name}" has no exact 3-D form.*{says}'):
        TimmEncoder(name, dims=3)


def test_a_layer_with_settings_that_say_nothing_of_depth_is_refused():
    from allograft.nets.encoders import inflated

    for layer, says in (
        (nn.Conv2d(1, 1, (3, 5)), "third axis"),
        (nn.Conv2d(1, 1, 3, padding="same"), "same"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "reflect"),
        (nn.AvgPool2d(2, divisor_override=3), "number of its own"),
        (nn.AdaptiveAvgPool2d(7), "7 positions"),
    ):
        with pytest.raises(inflated._NoTwinError, match=says):
            inflated._twin(layer, "cube")


def test_names_in_the_catalog_choose_the_geometry():
    with torch.device("meta"):
        settings = {"dims": 3, "in_channels": 1, "width": 1.0, "drop_path": 0.0}
        assert encoder_factory("timm:resnet18")(**settings).strides == (2, 4, 8, 16, 32)
        assert encoder_factory("timm-slice:resnet18")(**settings).strides[-1] == (1, 32, 32)
        with pytest.raises(
            ConfigError, match='timm-slice:resnet18": got dims 2, expected 3; images take "timm:resnet18"'
        ):
            encoder_factory("timm-slice:resnet18")(**{**settings, "dims": 2})
        with pytest.raises(ConfigError, match="dims 4, expected 2 or 3"):
            encoder_factory("timm:resnet18")(**{**settings, "dims": 4})
