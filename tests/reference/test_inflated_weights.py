"""Full transfer from 2-D into 3-D networks, by plan, apply and probe: the function is the 2-D network's."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allograft.catalog import encoder_factory, parts
from allograft.core.input_spec import InputSpec
from allograft.core.task import Task
from allograft.data.origins import reachable, resolve
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.starts.full import Full
from allograft.weights.apply import apply
from allograft.weights.probe import probe
from allograft.weights.rules import Action
from allograft.weights.source import SourceWeights, cards

TASKS = {"label": Task(kind="binary", classes=("no", "yes"))}
CARDS = ["tf_efficientnet_lite0-imagenet", "mobilenetv2_100-imagenet"]


def network(name: str, dims: int, channels: int, seed: int = 0) -> Network:
    spec = NetSpec.model_validate({"encoder": name, "dims": dims})
    net = build_network(spec, TASKS, in_channels=channels, seed=seed, parts=parts(spec))
    net.encoder_name = name
    return net.eval()


def donor(name: str) -> tuple[Network, SourceWeights]:
    """Return a 2-D network, random down to its norm statistics, and it as a source (synthetic)."""
    net = network(name, 2, 3, seed=9)
    torch.manual_seed(1)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    return net, SourceWeights.of(net, "own", InputSpec(size=(32, 32)), name)


def transferred(name: str, source: SourceWeights, *, fill: str, channels: int = 3) -> Network:
    net = network(name, 3, channels)
    plan = Full.model_validate({"fill": fill}).plan(net, source)
    assert plan.problems == ()
    changed = [e for e in plan.entries if e.action is Action.INFLATE]
    assert changed
    assert all(e.args["fill"] == fill and f"by {fill}" in e.why for e in changed)
    apply(plan, net, source, seed=0)
    build = partial(encoder_factory(source.card.encoder), dims=2, in_channels=3, width=1.0, drop_path=0.0)
    report = probe(plan, net, source, build, size=(32, 32))
    assert {row.why for row in report.rows} == {"2-D to 3-D"}
    gaps = [row.difference for row in report.rows]
    assert gaps
    assert fill == "average" or all(g is not None and g < 1e-4 for g in gaps), gaps
    return net


def gap(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def same_image(image: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Return a grey image as the 2-D network and as one of other channels see it alike."""
    grey = image[:, :1]
    return (image, image) if channels == 3 else (grey.expand(-1, 3, -1, -1), grey.expand(-1, channels, -1, -1))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("fill", "form"), [("slice", "timm-slice"), ("centre", "timm"), ("centre", "timm-slice")])
def test_full_gives_the_2d_function_for_any_number_of_channels(fill: str, form: str, channels: int) -> None:
    flat, source = donor("timm:mobilenetv2_050")
    net = transferred(f"{form}:mobilenetv2_050", source, fill=fill, channels=channels)
    theirs, ours = same_image(torch.randn(1, 3, 32, 32), channels)
    with torch.no_grad():
        levels = net.encode(ours[:, :, None].expand(-1, -1, 32, -1, -1).contiguous())
        for found, wanted in zip(levels, flat.encode(theirs), strict=True):
            assert gap(found, wanted[:, :, None].expand_as(found)) < 1e-5


@pytest.mark.parametrize("name", ["resnet18", "resnet50", pytest.param("resnet152", marks=pytest.mark.slow)])
def test_our_resnet_from_2d_by_centred_kernels_is_the_2d_one_on_equal_slices(name: str) -> None:
    flat, source = donor(name)
    net = transferred(name, source, fill="centre")
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        levels = net.encode(image[:, :, None].expand(-1, -1, 32, -1, -1).contiguous())
        for found, wanted in zip(levels, flat.encode(image), strict=True):
            assert gap(found, wanted[:, :, None].expand_as(found)) < 1e-5


@pytest.mark.parametrize("name", ["resnet18", "timm:resnet18"])
def test_averaged_kernels_are_the_2d_ones_where_borders_are_repeated(name: str) -> None:
    flat, source = donor(name)
    net = transferred(name, source, fill="average")
    image = torch.randn(1, 3, 32, 32)
    volume = image[:, :, None].expand(-1, -1, 32, -1, -1).contiguous()
    with torch.no_grad():
        plain = net.encode(volume)[-1]
        for layer in net.modules():
            if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1:
                p = int(layer.padding[0])
                layer.register_forward_pre_hook(
                    lambda _, given, p=p: F.pad(given[0], (0, 0, 0, 0, p, p), mode="replicate")
                )
                layer.padding = (0, *layer.padding[1:])  # type: ignore[assignment]
        levels = net.encode(volume)
        for found, wanted in zip(levels, flat.encode(image), strict=True):
            assert gap(found, wanted[:, :, None].expand_as(found)) < 1e-5
    assert gap(plain, levels[-1]) > 1e-2  # zeros beyond the volume do change the mean


def test_slice_weights_for_deep_kernels_are_a_problem() -> None:
    _, source = donor("timm:mobilenetv2_050")
    problems = Full(fill="slice").plan(network("timm:mobilenetv2_050", 3, 3), source).problems
    assert any('fill "slice" makes kernels of depth 1, the network has depth 3' in p for p in problems)


@pytest.mark.origin
@pytest.mark.parametrize(("form", "channels"), [("timm", 3), ("timm", 4), ("timm-slice", 1), ("timm-slice", 4)])
@pytest.mark.parametrize("card", CARDS)
def test_imagenet_weights_of_the_cards_become_3d(card: str, form: str, channels: int) -> None:
    described = cards()[card]
    if not reachable(described.origin, sha256=described.sha256):
        pytest.skip(f"{card}: {described.origin} cannot be reached from this machine")
    source = SourceWeights.open(described, resolve(described.origin, sha256=described.sha256))
    name = f"{form}:{described.encoder.removeprefix('timm:')}"
    net = transferred(name, source, fill="centre", channels=channels)
    flat = encoder_factory(described.encoder)(dims=2, in_channels=3, width=1.0, drop_path=0.0).eval()
    flat.load_state_dict({key: source[key] for key in source if not key.startswith("heads.")})
    theirs, ours = same_image(torch.randn(1, 3, 32, 32), channels)
    with torch.no_grad():
        levels = net.encode(ours[:, :, None].expand(-1, -1, 32, -1, -1).contiguous())
        for found, wanted in zip(levels, flat(theirs), strict=True):
            assert gap(found, wanted[:, :, None].expand_as(found)) < 1e-4
