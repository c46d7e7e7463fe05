"""The MONAI adapter: features whose projection is MONAI's own output; names, stages and refusals."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from monai.networks.nets import DynUNet, SegResNet, SwinUNETR

from allograft.catalog import encoder_factory
from allograft.core.errors import ConfigError, MissingExtra
from allograft.nets.encoders.monai_encoder import MONAI_NETS, MonaiEncoder
from allograft.testing.decoders import segmentation_net

NEEDS_EINOPS = pytest.mark.skipif(find_spec("einops") is None, reason="SwinUNETR needs einops")
STRIDES = (1, 2, 2, 2, 2)


def dynunet(dims):
    filters = [4, 8, 16, 32, 40 if dims == 3 else 64]
    return DynUNet(dims, 2, 3, [3] * 5, STRIDES, STRIDES[1:], filters=filters)


def segresnet(dims):
    return SegResNet(dims, init_filters=8, in_channels=2, out_channels=3)


def swinunetr(dims):
    return SwinUNETR(2, 3, feature_size=12, spatial_dims=dims)


CASES = [
    ("DynUNet", 0.125, dynunet, "output_block.conv.conv", (32, 32, 32)),
    ("SegResNet", 0.5, segresnet, "conv_final.2.conv", (16, 24, 16)),
    pytest.param("SwinUNETR", 0.5, swinunetr, "out.conv.conv", (64, 32, 32), marks=NEEDS_EINOPS),
]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("name", "width", "theirs", "last", "size"), CASES)
def test_the_projected_features_are_monais_own_output(name, width, theirs, last, size, dims):
    """Built by MONAI itself with three outputs, the judge; its tensors fit ours by name."""
    torch.manual_seed(0)
    judge = theirs(dims).eval()
    ours = MonaiEncoder(name, dims=dims, in_channels=2, width=width).eval()
    given = {k: v for k, v in judge.state_dict().items() if not k.startswith((last, "skip_layers"))}
    assert set(given) == set(ours.model.state_dict())
    ours.model.load_state_dict(given)
    head = judge.get_submodule(last)
    x = torch.randn(1, 2, *size[:dims])
    with torch.no_grad():
        (features,) = ours(x)
        assert features.shape[1] == ours.channels[0]
        assert torch.allclose(head(features), judge(x), atol=1e-5)


@pytest.mark.parametrize("name", ["DynUNet", "SegResNet"])
def test_it_segments_behind_the_decoder_same(name):
    from allograft.catalog import DECODERS

    net = segmentation_net(DECODERS["same"], encoder_factory(f"monai:{name}"), 2).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 1, 32, 48)).logits["mask"].shape == (1, 3, 32, 48)
    names = [stage.name for stage in net.stages()]
    assert names[0] == "stem"
    assert names[-3:] == ["up", "decoder", "head.mask"]


def test_dynunets_blocks_have_one_name_each():
    """MONAI registers them twice, which would make each tensor two rows of a plan."""
    with torch.device("meta"):
        net = MonaiEncoder("DynUNet", dims=2)
    assert not [key for key in net.state_dict() if "skip_layers" in key]
    assert len(net.state_dict()) == len(list(net.parameters()))


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("UNETR", {}, "not among those adapted"),
        ("DynUNet", {"drop_path": 0.1}, "stochastic depth"),
        ("SegResNet", {"width": 0.3}, "multiple of 8"),
        ("DynUNet", {"dims": 1}, "dims"),
    ],
)
def test_what_cannot_be_built_is_refused(name, settings, says):
    with pytest.raises(ConfigError, match=says):
        MonaiEncoder(name, **settings)


def test_a_size_that_it_cannot_halve_is_refused():
    with pytest.raises(ConfigError, match="multiples of 16"):
        MonaiEncoder("DynUNet", dims=2, width=0.125)(torch.randn(1, 1, 24, 32))


def test_without_einops_swin_unetr_says_what_to_install(monkeypatch):
    monkeypatch.setattr("allograft.nets.encoders.monai_encoder.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="einops"):
        MonaiEncoder("SwinUNETR")


def test_the_catalog_names_them():
    assert set(MONAI_NETS) == {"DynUNet", "SegResNet", "SwinUNETR"}
    with torch.device("meta"):
        assert encoder_factory("monai:SegResNet")(dims=2, in_channels=1, width=1.0, drop_path=0.0).channels == (16,)
