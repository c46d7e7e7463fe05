"""The torchvision cards are what the installed torchvision says of its weights; "kinetics" is MONAI's geometry."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import get_weight

from allograft.data.origins import Address
from allograft.nets.encoders.resnet import ResNet
from allograft.weights.card import WeightSource, cards

CARDS = [card for card in cards().values() if card.origin.startswith("torchvision:")]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_address_hash_and_input_are_torchvisions(card: WeightSource) -> None:
    address = Address.parse(card.origin)
    weights = get_weight(address.name)
    assert weights.url.endswith(f"/{address.member}")
    assert address.member == f"{card.encoder}-{card.sha256}.pth"
    preset = weights.transforms()
    assert (tuple(preset.mean), tuple(preset.std)) == (card.expects.mean, card.expects.std)
    assert tuple(preset.crop_size) * 2 == card.expects.size
    assert card.name == f"{card.encoder}-imagenet-{weights.name.lower()[-2:]}"


def test_all_resnets_of_torchvision_up_to_152_have_cards() -> None:
    names = {Address.parse(card.origin).name for card in CARDS}
    from torchvision.models import resnet

    known = {str(w) for depth in (18, 34, 50, 101, 152) for w in getattr(resnet, f"ResNet{depth}_Weights")}
    assert names == known


@pytest.mark.parametrize("depth", [18, 50])
def test_kinetics_computes_what_monais_resnet_of_that_geometry_computes(depth: int) -> None:
    from monai.networks.nets.resnet import ResNet as MonaiResNet

    ours = ResNet(depth, "kinetics", dims=3, width=0.125).eval()
    theirs = MonaiResNet(
        "basic" if depth == 18 else "bottleneck",
        [2, 2, 2, 2] if depth == 18 else [3, 4, 6, 3],
        [8, 16, 32, 64],
        n_input_channels=3,
        conv1_t_size=7,
        conv1_t_stride=(1, 2, 2),
        shortcut_type="A" if depth == 18 else "B",
        bias_downsample=False,
        feed_forward=False,
    ).eval()
    with torch.no_grad():
        for module in ours.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 3, 16, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        level = ours(x)[-1]
        torch.testing.assert_close(level.mean((2, 3, 4)), theirs(x), rtol=1e-4, atol=1e-5)
        other = ResNet(depth, "torchvision", dims=3, width=0.125).eval()
        if depth == 50:  # equal tensors, another stride along time
            other.load_state_dict(ours.state_dict())
            assert (other(x)[-1].mean((2, 3, 4)) - theirs(x)).norm() / theirs(x).norm() > 0.05
    assert level.shape[2:] == (1, 2, 2)
    assert ours.strides[-1] == (16, 32, 32)
