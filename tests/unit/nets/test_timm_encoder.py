"""The timm adapter: timm's own names, timm's own pooling, every setting honoured or refused."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from allograft.core.errors import ConfigError
from allograft.nets.encoders import timm_encoder
from allograft.nets.encoders.timm_encoder import TimmEncoder
from allograft.nets.heads.linear import LinearHead
from allograft.nets.network import Network, stage_of

CLASSIFIER = {
    "tf_efficientnet_lite0": "classifier",
    "mobilenetv2_100": "classifier",
    "mobilenetv3_small_050": "classifier",  # a layer after the pooling
    "resnet18": "fc",
    "convnext_atto": "head.fc",  # a norm after the pooling
    "densenet121": "classifier",
    "vit_tiny_patch16_224": "head",  # class token
    "vit_tiny_r_s16_p8_224": "head",  # a convolutional stem before the tokens
    "swin_tiny_patch4_window7_224": "head.fc",  # channels last
    "regnetx_002": "head.fc",
    "vgg11": "head.fc",
    "cait_xxs24_224": "head",  # groups given by a function
}
AVERAGED = {
    "tf_efficientnet_lite0",
    "mobilenetv2_100",
    "resnet18",
    "densenet121",
    "regnetx_002",
    "swin_tiny_patch4_window7_224",
}
CHEAP = [n for n in CLASSIFIER if n not in {"vgg11", "cait_xxs24_224", "vit_tiny_r_s16_p8_224"}]


def randomise(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)


@pytest.mark.parametrize("name", CHEAP)
def test_network_equals_timm_with_its_classifier(name):
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=5).eval()
    randomise(theirs)
    encoder = TimmEncoder(name)
    net = Network(encoder, {"label": LinearHead(encoder.channels[-1], 5)}).eval()
    key = CLASSIFIER[name]
    state = theirs.state_dict()
    net.heads["label"].linear.load_state_dict({"weight": state.pop(f"{key}.weight"), "bias": state.pop(f"{key}.bias")})
    net.encoder.load_state_dict({f"model.{k}": v for k, v in state.items()})  # strict: the same names
    size = 224 if name.startswith(("vit", "swin")) else 96
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected, got = theirs(x), net(x).logits["label"]
    assert float(expected.std()) > 0
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", CLASSIFIER)
def test_own_pooling_is_appended_only_where_averaging_is_not_it(name):
    with torch.device("meta"):
        encoder = TimmEncoder(name)
    assert (encoder.strides[-1] == 0) == (name not in AVERAGED)
    assert all(s > 0 for s in encoder.strides[:-1])
    stages = encoder.stages()
    assert {stage_of(key, stages) for key in encoder.state_dict()} == {s.name for s in stages}


@pytest.mark.parametrize(
    ("name", "strides", "stages"),
    [
        ("tf_efficientnet_lite0", (2, 4, 8, 16, 32), ["stem", *(f"stage{i}" for i in range(1, 8)), "top"]),
        ("resnet18", (2, 4, 8, 16, 32), ["stem", *(f"stage{i}" for i in range(1, 5))]),
        ("convnext_atto", (4, 8, 16, 32, 0), ["stem", *(f"stage{i}" for i in range(1, 5)), "top"]),
        ("densenet121", (2, 4, 8, 16, 32), ["stem", *(f"stage{i}" for i in range(1, 5)), "top"]),
        ("vit_tiny_patch16_224", (16, 16, 16, 16, 0), ["stem", *(f"stage{i}" for i in range(1, 13)), "top"]),
    ],
)
def test_strides_and_stages(name, strides, stages):
    with torch.device("meta"):
        encoder = TimmEncoder(name)
    assert encoder.strides == strides
    assert [s.name for s in encoder.stages()] == stages


def test_pooling_by_maximum_is_not_taken_for_averaging():
    with torch.device("meta"):
        mean, most = (timm.create_model("resnet18", num_classes=0, global_pool=p) for p in ("avg", "max"))
        final = torch.empty(1, 512, 8, 8)
    assert timm_encoder._averages(mean, final, "channels_first")
    assert not timm_encoder._averages(most, final, "channels_first")


def test_top_holds_the_final_convolution():
    with torch.device("meta"):
        stages = TimmEncoder("tf_efficientnet_lite0").stages()
    assert stages[0].prefixes == ("model.conv_stem", "model.bn1")
    assert stages[-1].prefixes == ("model.conv_head", "model.bn2")


def test_tokens_become_a_grid_without_the_class_token():
    torch.manual_seed(0)
    encoder = TimmEncoder("vit_tiny_patch16_224").eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        levels, tokens = encoder(x), encoder.model.forward_features(x)
    assert levels[3].shape == (1, 192, 4, 6)
    assert torch.allclose(levels[3][0, :, 1, 2], tokens[0, 1 + 6 + 2], atol=1e-6)
    assert torch.allclose(levels[4][0, :, 0, 0], tokens[0, 0], atol=1e-6)


def test_drop_path_reaches_timm():
    with torch.device("meta"):
        encoder = TimmEncoder("convnext_atto", drop_path=0.2)
    assert max(getattr(m, "drop_prob", 0) or 0 for m in encoder.modules()) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("resnet19", {}, "Nearest: .*resnet18"),
        ("hf_hub:timm/resnet18", {}, "no such network"),
        ("inception_v3", {}, "not the size divided by a stride"),
        ("poolformer_s12", {}, "cannot give intermediate"),
        ("resnet18", {"dims": 1}, "dims 1"),
        ("resnet18", {"width": 0.5}, "width"),
        ("densenet121", {"drop_path": 0.1}, "no stochastic depth"),
        ("vgg11", {"drop_path": 0.1}, "no stochastic depth"),
    ],
)
def test_settings_without_meaning_are_refused(name, settings, says):
    with torch.device("meta"), pytest.raises(ConfigError, match=says):
        TimmEncoder(name, **settings)


def test_an_image_of_a_size_it_cannot_take_is_refused():
    with torch.device("meta"):
        vit, mixer = TimmEncoder("vit_tiny_patch16_224"), TimmEncoder("mixer_s32_224")
        with pytest.raises(ConfigError, match="multiples of 16"):
            vit(torch.empty(1, 3, 60, 64))
        with pytest.raises(ConfigError, match=r"\(224, 224\)"):
            mixer(torch.empty(1, 3, 64, 64))
