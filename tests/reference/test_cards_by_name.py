"""Cards made from timm's registry: every pretrained network is a source by its name, judged by timm itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg, list_pretrained

from allograft import catalog
from allograft.core.errors import ConfigError
from allograft.data.origins import Address
from allograft.study.sources import find_card, require_licence
from allograft.weights.card import card_named
from allograft.weights.named_cards import timm_card
from allograft.weights.source import SourceWeights
from fake_checkpoints import fake_file


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "mobilenetv3_small_050.lamb_in1k"])
def test_a_synthetic_file_with_timms_names_gives_timms_features(name: str, tmp_path: Path) -> None:
    card = card_named(f"timm:{name}")
    fake = fake_file(card, tmp_path)
    source = SourceWeights.open(card, fake.path)
    assert set(source.shapes) == set(fake.state)
    net = catalog.encoder_factory(card.encoder)(dims=2, in_channels=3, width=1.0, drop_path=0.0)
    net.load_state_dict({key: source[key] for key in source})
    judge = timm.create_model(name.partition(".")[0], pretrained=False)
    judge.load_state_dict(load_file(fake.path))
    for key, tensor in judge.state_dict().items():
        if f"model.{key}" in fake.state:
            assert torch.equal(net.state_dict()[f"model.{key}"], tensor)
    dropped = {item.source for item in source.unmapped}
    assert dropped == {key for key in judge.state_dict() if key.startswith(judge.default_cfg["classifier"])}


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "resnet50.tv_in1k", "convnext_tiny.in12k_ft_in1k"])
def test_input_licence_and_origin_are_timms(name: str) -> None:
    card, known = timm_card(name), get_pretrained_cfg(name)
    assert (card.expects.mean, card.expects.std) == (tuple(known.mean), tuple(known.std))
    assert card.expects.size == tuple(known.input_size[1:])
    address = Address.parse(card.origin)
    assert (address.scheme, address.name, address.member) == ("hf", known.hf_hub_id, "model.safetensors")
    assert card.license.lower() == known.license
    assert card.commercial
    assert find_card(f"timm:{name}") == card


def test_the_default_tag_is_named_and_data_sets_come_in_the_order_of_training() -> None:
    assert timm_card("resnet50").name == "timm:" + str(get_pretrained_cfg("resnet50").architecture) + ".a1_in1k"
    assert timm_card("convnext_tiny.in12k_ft_in1k").seen == ("imagenet-12k", "imagenet-1k")
    assert timm_card("vit_small_patch16_224.dino").seen == ()


def test_licences_that_forbid_commercial_use_must_be_accepted() -> None:
    name = next(n for n in list_pretrained() if get_pretrained_cfg(n).license == "cc-by-nc-4.0")
    card = find_card(f"timm:{name}")
    assert not card.commercial
    with pytest.raises(ConfigError, match="accept_licence"):
        require_licence(card, [])


def test_unknown_networks_and_tags_are_refused_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match=r"Nearest: .*resnet50\.a1_in1k"):
        card_named("timm:resnet50.a1_in2k")
    with pytest.raises(ConfigError, match=r"no such pretrained weights. Nearest: .*resnet"):
        card_named("timm:resnett50")
    with pytest.raises(ConfigError, match="no weights are named"):
        card_named("tim:resnet50")


@pytest.mark.optional
def test_every_pretrained_network_of_timm_has_a_card() -> None:
    """Of three channels; each with an origin that can be taken apart."""
    odd = []
    for name in list_pretrained():
        known = get_pretrained_cfg(name)
        if known.input_size[0] == 3:
            card = timm_card(name)
            Address.parse(card.origin)
            odd += [name] if card.commercial and known.license in {None, "cc-by-nc-4.0", "unknown"} else []
    assert not odd
