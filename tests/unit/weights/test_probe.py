from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from allograft.core.errors import PlanError
from allograft.core.input_spec import InputSpec
from allograft.nets.encoders.resnet import ResNet
from allograft.nets.network import Network
from allograft.testing.tiny import TinyEncoder, tiny_net
from allograft.weights.apply import apply
from allograft.weights.build import build_plan
from allograft.weights.fingerprint import probe_input
from allograft.weights.plan import TransferPlan
from allograft.weights.probe import check_fingerprint, fingerprint, load_reference, probe
from allograft.weights.rules import Action, Rule, Where
from allograft.weights.source import SourceWeights
from tiny_source import tiny_source, trained_net

NEW = Rule(where=Where(stages=("head", "decoder")), action=Action.FRESH, why="new task")
COPY = (NEW, Rule(action=Action.COPY, why="rest"))
SHAPE = {2: (1, 3, 32, 32), 3: (1, 3, 16, 16, 16)}


def donor(dims: int = 2) -> Network:
    return trained_net(dims).eval()


def moved(net: Network, source: SourceWeights, rules: Any = COPY) -> TransferPlan:
    plan = build_plan(net, source, rules, start="x")
    apply(plan, net, source, seed=0)
    return plan


def changed_file(folder: Path, change: Any, dims: int = 2) -> SourceWeights:
    """A file whose tensors were changed, under a card with the fingerprint of the right ones."""
    net = donor(dims)
    opened = tiny_source(folder, net, dims=dims, fingerprint=fingerprint(net.encoder, SHAPE[dims]))
    state = {key: opened[key].clone() for key in opened}
    change(state)
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "tiny.safetensors")
    return SourceWeights.open(opened.card, folder / "tiny.safetensors")


@pytest.mark.parametrize("dims", [2, 3])
def test_a_fingerprint_is_repeatable_and_the_right_weights_pass(dims: int, tmp_path: Path) -> None:
    net = trained_net(dims).train()
    marks = [fingerprint(net.encoder, SHAPE[dims]) for _ in range(2)]
    assert marks[0] == marks[1]
    assert set(marks[0].stages) == {"stem", "stage1", "stage2", "output"}
    assert all(module.training for module in net.modules())
    source = changed_file(tmp_path, lambda state: None, dims)
    load_reference(source, TinyEncoder(dims))


def _swap_channels(state: dict[str, torch.Tensor]) -> None:
    state["stem.conv.weight"] = state["stem.conv.weight"].flip(1)


def _swap_axes(state: dict[str, torch.Tensor]) -> None:
    for key, value in state.items():
        if value.ndim >= 4:
            state[key] = value.transpose(-1, -2)


def _fresh_statistics(state: dict[str, torch.Tensor]) -> None:
    for key, value in state.items():
        if key.endswith("running_mean"):
            value.zero_()
        elif key.endswith("running_var"):
            value.fill_(1)


def _averaged(state: dict[str, torch.Tensor]) -> None:
    for value in state.values():
        if value.is_floating_point():
            value.mul_(1.02)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (_swap_channels, "BGR"),
        (_swap_axes, "axis order"),
        (_fresh_statistics, "norm statistics"),
        (_averaged, "EMA"),
    ],
)
def test_what_shapes_cannot_show_is_caught_by_a_fingerprint(change: Any, cause: str, dims: int, tmp_path: Path) -> None:
    source = changed_file(tmp_path, change, dims)
    assert build_plan(tiny_net(dims), source, COPY, start="x").problems == ()
    with pytest.raises(PlanError, match=f"fingerprint says. First in stem.*{cause}"):
        load_reference(source, TinyEncoder(dims))


class Other(TinyEncoder):
    """The tiny encoder with one thing changed that no tensor shows."""

    def __init__(self, dims: int, what: str) -> None:
        super().__init__(dims)
        block: Any = self.get_submodule("layer1")
        if what == "stride":
            block["conv"].stride = (1,) * dims
        elif what == "dilation":
            block["conv"].dilation, block["conv"].padding = (2,) * dims, (2,) * dims
        elif what == "epsilon":
            block["norm"].eps = 0.1


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("what", ["stride", "dilation", "epsilon"])
def test_a_network_of_equal_shapes_and_another_function_is_caught(what: str, dims: int, tmp_path: Path) -> None:
    source = changed_file(tmp_path, lambda state: None, dims)
    with pytest.raises(PlanError, match="First in stage1"):
        check_fingerprint(load_other(source, dims, what), source.card.fingerprint, who="x")  # type: ignore[arg-type]
    plain = tiny_source(tmp_path, donor(dims), dims=dims)
    net = tiny_net(dims)
    net.encoder = Other(dims, what)
    plan = moved(net, plain)
    with pytest.raises(PlanError, match="stage1 was copied bit for bit and does not compute") as caught:
        probe(plan, net, plain, lambda: TinyEncoder(dims))
    assert ("features have shape" in str(caught.value)) == (what == "stride")


def load_other(source: SourceWeights, dims: int, what: str) -> nn.Module:
    net = Network(Other(dims, what), {})
    apply(build_plan(net, source, COPY, start="x"), net, source, seed=0)
    return net.encoder


@pytest.mark.parametrize("dims", [2, 3])
def test_a_right_transfer_passes_and_every_stage_is_judged(dims: int, tmp_path: Path) -> None:
    source = changed_file(tmp_path, lambda state: None, dims)
    net = tiny_net(dims)
    report = probe(moved(net, source), net, source, lambda: TinyEncoder(dims))
    assert [(row.stage, row.judged) for row in report.rows] == [("stem", True), ("stage1", True), ("stage2", True)]
    assert all(row.difference == 0 for row in report.rows)
    assert report.proof == "fingerprint"


def test_without_a_fingerprint_the_proof_is_said_to_be_missing(tmp_path: Path) -> None:
    source, net = tiny_source(tmp_path, donor()), tiny_net(2)
    assert probe(moved(net, source), net, source, lambda: TinyEncoder(2)).proof == "unproven"


@pytest.mark.parametrize(
    ("source_dims", "dims", "channels"), [(2, 2, 1), (2, 2, 5), (2, 3, 3), (2, 3, 1), (3, 2, 3), (3, 3, 2)]
)
def test_what_differs_by_design_is_a_number_and_no_error(
    source_dims: int, dims: int, channels: int, tmp_path: Path
) -> None:
    source = tiny_source(tmp_path, donor(source_dims), dims=source_dims)
    net = tiny_net(dims, in_channels=channels)
    report = probe(moved(net, source), net, source, lambda: TinyEncoder(source_dims))
    assert not any(row.judged for row in report.rows)
    assert all(row.why for row in report.rows)
    # Rescaling, inflating and collapsing keep the response: the stem's middle slice is the source's.
    assert report.rows[0].difference is not None
    assert report.rows[0].difference < 1e-5


def test_stages_above_a_fresh_one_are_reported_and_differ(tmp_path: Path) -> None:
    source, net = tiny_source(tmp_path, donor()), tiny_net(2, seed=9)
    low = Rule(where=Where(stages=("stem",)), action=Action.COPY, why="low")
    plan = moved(net, source, (low, Rule(action=Action.FRESH, why="above")))
    stem, stage1, _ = probe(plan, net, source, lambda: TinyEncoder(2)).rows
    assert (stem.judged, stem.difference) == (True, 0.0)
    assert not stage1.judged
    assert stage1.difference is not None
    assert stage1.difference > 0.1
    assert stage1.why == "encoder.layer1.conv.weight: fresh"


def test_a_tensor_changed_after_apply_is_caught(tmp_path: Path) -> None:
    source, net = tiny_source(tmp_path, donor()), tiny_net(2)
    plan = moved(net, source)
    with torch.no_grad():
        net.encoder.get_parameter("layer1.conv.weight").mul_(1.01)
    with pytest.raises(PlanError, match="stage1 was copied"):
        probe(plan, net, source, lambda: TinyEncoder(2))


def test_a_reference_that_is_not_the_sources_encoder_is_refused(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, donor())
    with pytest.raises(PlanError, match="not the source's encoder"):
        load_reference(source, TinyEncoder(3))
    with pytest.raises(PlanError, match=r"do not fit|does not fit"):
        load_reference(source, TinyEncoder(2, widths=(4, 6, 9)))


def test_medicalnet_weights_in_the_other_variant_are_caught_though_every_name_and_shape_fits() -> None:
    torch.manual_seed(0)
    theirs = Network(ResNet(10, "medicalnet", dims=3, in_channels=1, width=0.125), {}).eval()
    spec = InputSpec(channels=1, axes="DHW", size=(32, 32, 32))
    source = SourceWeights.of(theirs, "med", spec, "medicalnet10")

    def ours() -> ResNet:
        return ResNet(10, "torchvision", dims=3, in_channels=1, width=0.125)

    net = Network(ours(), {})
    plan = moved(net, source)
    assert plan.problems == ()
    assert plan.coverage().copied == 1
    with pytest.raises(PlanError, match=r"First in stage3.*a stride, dilation or padding differs"):
        probe(plan, net, source, ours)
    right = Network(ResNet(10, "medicalnet", dims=3, in_channels=1, width=0.125), {})
    report = probe(
        moved(right, source), right, source, lambda: ResNet(10, "medicalnet", dims=3, in_channels=1, width=0.125)
    )
    assert all(row.judged for row in report.rows)


def test_the_probe_input_is_asymmetric_in_channels_and_axes() -> None:
    x = probe_input((1, 3, 16, 16))
    assert torch.equal(x, probe_input((1, 3, 16, 16)))
    assert not torch.equal(x, probe_input((1, 3, 16, 16), seed=1))
    means = x.mean((0, 2, 3))
    assert float((means - means.flip(0)).abs().max()) > 0.5
    rows, columns = x.mean((0, 1, 3)), x.mean((0, 1, 2))
    assert float((rows - columns).abs().max()) > 0.1
    assert float(x.abs().max()) < 2.5


def test_timm_lite0_with_tensorflow_padding_is_told_from_the_plain_one() -> None:
    """All names and shapes fit; only the padding differs. Values are random, so nothing is downloaded."""
    timm_encoder = pytest.importorskip("allograft.nets.encoders.timm_encoder")
    theirs = Network(timm_encoder.TimmEncoder("tf_efficientnet_lite0"), {}).eval()
    source = SourceWeights.of(theirs, "lite0", InputSpec(), "timm:tf_efficientnet_lite0")

    def plain() -> nn.Module:
        encoder: nn.Module = timm_encoder.TimmEncoder("efficientnet_lite0")
        return encoder

    net = Network(plain(), {})
    plan = moved(net, source)
    assert plan.coverage().copied == 1
    with pytest.raises(PlanError, match=r"does not compute what the card's fingerprint says. First in stem"):
        probe(plan, net, source, plain)
