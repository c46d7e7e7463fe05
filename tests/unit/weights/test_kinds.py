from __future__ import annotations

import pytest
import torch
from torch import nn

from allograft.nets.network import Network, Stage
from allograft.testing.tiny import tiny_net
from allograft.weights.kinds import slots


class Mixed(nn.Module):
    """Every kind of tensor; never run."""

    dims, in_channels, channels, strides = 2, 3, (4,), (1,)

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 2)
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.group = nn.GroupNorm(2, 4)
        self.layer = nn.LayerNorm(4)
        self.instance = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
        self.attn = nn.MultiheadAttention(4, 2)
        self.register_buffer("mask", torch.zeros(2, 2))

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("all", tuple(dict.fromkeys(key.split(".")[0] for key in self.state_dict()))),)


def test_kinds_follow_the_owning_module() -> None:
    found = {slot.source: slot.kind for slot in slots(Network(Mixed(), {}))}
    assert found == {
        "patch.weight": "weight",
        "patch.bias": "bias",
        "pos_embed": "position",
        "cls_token": "weight",
        "group.weight": "norm_affine",
        "group.bias": "norm_affine",
        "layer.weight": "norm_affine",
        "layer.bias": "norm_affine",
        "instance.weight": "norm_affine",
        "instance.bias": "norm_affine",
        "instance.running_mean": "norm_stat",
        "instance.running_var": "norm_stat",
        "instance.num_batches_tracked": "norm_stat",
        "attn.in_proj_weight": "weight",
        "attn.in_proj_bias": "bias",
        "attn.out_proj.weight": "weight",
        "attn.out_proj.bias": "bias",
        "mask": "buffer",
    }


@pytest.mark.parametrize("dims", [2, 3])
def test_one_slot_per_key_in_order_and_one_input_kernel(dims: int) -> None:
    with torch.device("meta"):
        net = tiny_net(dims)
    found = slots(net)
    assert [slot.key for slot in found] == list(net.state_dict())
    assert [slot.source for slot in found if slot.input_conv] == ["stem.conv.weight"]
    assert {slot.source for slot in found if slot.counter} == {
        f"{part}.norm.num_batches_tracked" for part in ("stem", "layer1", "layer2")
    }
    assert {slot.stage for slot in found} == {"stem", "stage1", "stage2", "head.label"}


def test_norm_layers_of_other_libraries_are_known() -> None:
    timm = pytest.importorskip("timm.layers")
    net = Network(Mixed(), {})
    net.encoder.group = timm.BatchNormAct2d(4)
    net.encoder.layer = timm.LayerNorm2d(4)
    kinds = {slot.source: slot.kind for slot in slots(net)}
    assert kinds["group.weight"] == kinds["layer.bias"] == "norm_affine"
    assert kinds["group.running_var"] == "norm_stat"
