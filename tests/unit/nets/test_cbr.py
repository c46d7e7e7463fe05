"""CBR: the family of Transfusion by its parameter counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from allograft.core.errors import ConfigError
from allograft.nets.encoders.cbr import CBR, CBR_FORMS
from allograft.nets.heads.linear import LinearHead
from allograft.nets.network import Network, parameter_count

COUNTS = {  # trainable numbers with 3 input channels and 5 classes, 2-D
    "cbr_large_t": 8_539_173,
    "cbr_large_w": 8_443_461,
    "cbr_small": 2_114_341,
    "cbr_tiny": 1_079_845,
    "cbr_tiny_wide": 4_310_085,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    with torch.device("meta"):
        encoder = CBR(CBR_FORMS[name])
        net = Network(encoder, {"label": LinearHead(encoder.channels[-1], 5)})
    assert parameter_count(net) == COUNTS[name]


def test_the_tall_net_does_not_pool_last():
    with torch.device("meta"):
        assert CBR(CBR_FORMS["cbr_large_t"]).strides == (2, 4, 8, 16, 16)
        assert CBR(CBR_FORMS["cbr_large_w"]).strides == (2, 4, 8, 16)


def test_equals_a_plain_sequence():
    torch.manual_seed(0)
    net = CBR(CBR_FORMS["cbr_tiny"], in_channels=2, width=0.125).eval()
    layers = []
    for unit in net.children():
        layers += [unit.conv, unit.bn, nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    x = torch.randn(2, 2, 33, 40)
    with torch.no_grad():
        assert torch.equal(net(x)[-1], nn.Sequential(*layers)(x))


def test_width_multiplies_channels():
    with torch.device("meta"):
        assert CBR(CBR_FORMS["cbr_tiny"], width=0.5).channels == (16, 32, 64, 128)


def test_drop_path_is_refused_not_ignored():
    with pytest.raises(ConfigError, match="drop_path"):
        CBR(CBR_FORMS["cbr_tiny"], drop_path=0.1)
