from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from allograft.catalog import encoder_factory
from allograft.weights.checking.identify import identify, structure
from allograft.weights.coverage import wanted

FAMILIES = ("resnet", "medicalnet", "kinetics", "i3resnet")


def shapes(name: str, dims: int, channels: int, prefix: str = "") -> Mapping[str, tuple[int, ...]]:
    with torch.device("meta"):
        net = encoder_factory(name)(dims=dims, in_channels=channels, width=1.0, drop_path=0.0)
    return {prefix + key: shape for key, shape in wanted(net).items()}


@pytest.mark.parametrize("depth", [10, 18, 34, 50])
@pytest.mark.parametrize(("family", "dims", "channels"), [("resnet", 2, 3), ("medicalnet", 3, 1), ("i3resnet", 3, 3)])
def test_every_depth_is_told_by_its_structure(family: str, depth: int, dims: int, channels: int) -> None:
    found = identify(shapes(f"{family}{depth}", dims, channels, "module."))
    first = found[0]
    assert (first.encoder, first.dims, first.in_channels, first.width) == (f"{family}{depth}", dims, channels, 1.0)
    assert first.prefix == "module."
    assert f"ResNet-{depth}" in first.words


@pytest.mark.parametrize(("name", "dims"), [("resnet18_small", 2), ("resnet18_slim", 2), ("resnet50_slice", 3)])
def test_variants_are_told_by_their_shapes(name: str, dims: int) -> None:
    assert identify(shapes(name, dims, 3))[0].encoder == name


def test_networks_that_shapes_cannot_tell_apart_are_all_named() -> None:
    assert {guess.encoder for guess in identify(shapes("resnet50", 3, 1))} == {"medicalnet50", "kinetics50", "resnet50"}
    assert {guess.encoder for guess in identify(shapes("medicalnet18", 3, 1))} == {"medicalnet18", "kinetics18"}


def test_genesis_is_known_and_other_names_are_not() -> None:
    assert identify(shapes("genesis", 3, 1))[0].encoder == "genesis"
    assert identify({"a.weight": (3, 3)}) == ()
    assert structure({"layer1.0.conv1.weight": (4, 4, 3, 3)}) is None


def test_kernels_with_channels_last_are_told() -> None:
    turned = {
        key: (*shape[2:], shape[1], shape[0]) if len(shape) == 4 else shape
        for key, shape in shapes("resnet18", 2, 3).items()
    }
    found = structure(turned)
    assert found is not None
    assert (found.channels_last, found.in_channels, found.stem, found.depth) == (True, 3, 64, 18)
