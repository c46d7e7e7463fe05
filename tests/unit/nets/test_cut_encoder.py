"""Cut encoders: what is left computes what it did in the whole network, and nothing else is left."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from allograft.catalog import encoder_factory, parts
from allograft.core.errors import ConfigError
from allograft.core.input_spec import InputSpec
from allograft.core.task import Task
from allograft.nets.build import build_network
from allograft.nets.encoders.cut import cut
from allograft.nets.network import Network, parameter_count
from allograft.nets.spec import NetSpec
from allograft.starts.full import Full
from allograft.testing.encoders import check_encoder
from allograft.weights.build import CUT
from allograft.weights.source import SourceWeights

TASK = Task(kind="binary", classes=("no", "yes"))
CASES = [
    ("resnet18", 2, "stage2", "layer2"),
    ("resnet50", 2, "stage1", "layer1"),
    ("medicalnet10", 3, "stage2", "layer2"),
    ("resnet18_slice", 3, "stage3", "layer3"),
    ("timm:resnet18", 2, "stage2", "model.layer2"),
    ("timm-slice:resnet18", 3, "stage2", "model.layer2"),
    ("timm:densenet121", 2, "stage2", "model.features.denseblock2"),
]


def whole(name: str, dims: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return encoder_factory(name)(dims=dims, in_channels=1, width=1.0, drop_path=0.0).eval()


@pytest.mark.parametrize(("name", "dims", "until", "module"), CASES, ids=[c[0] for c in CASES])
def test_cut_features_equal_a_forward_hook_on_the_whole_network(name: str, dims: int, until: str, module: str) -> None:
    full = whole(name, dims)
    part = cut(copy.deepcopy(full), until).eval()
    seen = []
    handle = full.get_submodule(module).register_forward_hook(lambda _m, _i, out: seen.append(out.clone()))
    x = torch.randn(2, 1, *(64, 64) if dims == 2 else (4, 32, 32))
    with torch.no_grad():
        before, after = full(x), part(x)
    handle.remove()
    assert torch.equal(after[-1], seen[-1])
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=False))
    assert len(after) < len(before)


@pytest.mark.parametrize(("name", "dims", "until", "module"), CASES, ids=[c[0] for c in CASES])
def test_parameters_fall_by_exactly_the_removed_stages(name: str, dims: int, until: str, module: str) -> None:
    full = whole(name, dims)
    part = cut(copy.deepcopy(full), until)
    names = [stage.name for stage in full.stages()]
    gone = [prefix for stage in full.stages()[names.index(until) + 1 :] for prefix in stage.prefixes]
    gone += ["model.features.transition2"] if "densenet" in name else []  # leads to the next block only
    removed = sum(p.numel() for key, p in full.named_parameters() if any(key.startswith(f"{g}.") for g in gone))
    assert parameter_count(full) - parameter_count(part) == removed > 0
    assert set(part.state_dict()) == {k for k in full.state_dict() if not any(k.startswith(f"{g}.") for g in gone)}


@pytest.mark.parametrize("dims", [2, 3])
def test_a_cut_encoder_keeps_the_contract_of_encoders(dims: int) -> None:
    def factory(*, dims: int, in_channels: int, width: float, drop_path: float) -> nn.Module:
        built = encoder_factory("resnet10_small")(
            dims=dims, in_channels=in_channels, width=0.125 * width, drop_path=drop_path
        )
        return cut(built, "stage2")

    check_encoder(factory, dims, size=16)


def network(until: str, decoder: str = "") -> Network:
    spec = NetSpec(encoder="resnet10_small", width=0.125, until=until, decoder=decoder)
    task = Task(kind="segmentation", classes=("a", "b")) if decoder else TASK
    return build_network(spec, {task.head: task}, in_channels=1, seed=0, parts=parts(spec))


def test_the_cut_part_has_the_tensors_of_the_whole_and_its_source_is_named_as_cut() -> None:
    full, part = network(""), network("stage2")
    theirs = full.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in part.state_dict().items() if k.startswith("encoder."))
    source = SourceWeights.of(full, "whole", InputSpec(channels=1), "resnet10_small")
    plan = Full().plan(part, source)
    plan.require_sound()
    behind = [one for one in plan.unused if one.source.startswith(("layer3", "layer4"))]
    assert behind
    assert {one.why for one in behind} == {CUT}
    assert len(behind) == sum(k.startswith(("encoder.layer3", "encoder.layer4")) for k in theirs)
    assert any("behind the cut" in note for note in plan.notes)


def test_without_the_cut_the_same_missing_stages_are_a_problem() -> None:
    part = network("stage2")
    source = SourceWeights.of(part, "cut", InputSpec(channels=1), "resnet10_small")
    assert any("no value" in text for text in Full().plan(network(""), source).problems)


def test_a_decoder_works_on_a_cut_encoder_and_copies_are_independent() -> None:
    net = network("stage2", "unet")
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    x = torch.randn(1, 1, 16, 16)
    net.eval(), twin.eval()
    assert net(x).logits["label"].shape == (1, 2, 16, 16)
    assert bool(net(x).levels[-1].any())
    assert not bool(twin(x).levels[-1].any())


def test_stages_that_cannot_be_cut_at_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"stage9.*stage2"):
        cut(whole("resnet18", 2), "stage9")
    with pytest.raises(ConfigError, match="nothing would be cut"):
        cut(whole("resnet18", 2), "stage4")
    with torch.device("meta"), pytest.raises(ConfigError, match="Cut it after"):
        cut(encoder_factory("timm:vgg16")(dims=2, in_channels=1, width=1.0, drop_path=0.0), "stage2")
