"""Full: the encoder is the source's, bit by bit and by function; heads are new."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from allograft.core.errors import PlanError
from allograft.core.input_spec import InputSpec
from allograft.core.task import Task
from allograft.nets.heads.instances import Pooled, PooledInstances
from allograft.starts.full import Full
from allograft.testing.tiny import tiny_net
from allograft.weights.apply import apply
from allograft.weights.rules import Action
from allograft.weights.source import SourceWeights
from hand_loop import changed, snapshot, synthetic_batch
from tiny_source import tiny_source, trained_net


@pytest.mark.parametrize("dims", [2, 3])
def test_encoder_tensors_equal_the_file_and_heads_stay(dims: int, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(dims))
    net = tiny_net(dims)
    before = snapshot(net)
    apply(Full().plan(net, source), net, source, seed=0)
    state = net.state_dict()
    file = load_file(tmp_path / "tiny.safetensors")
    assert all(torch.equal(state[f"encoder.{name}"], value) for name, value in file.items())
    assert changed(before, snapshot(net)) == {name for name in state if name.startswith("encoder.")}


@pytest.mark.parametrize("dims", [2, 3])
def test_features_are_those_of_the_source_network_on_synthetic_images(dims: int, tmp_path: Path) -> None:
    donor = trained_net(dims).eval()
    source = tiny_source(tmp_path, donor)
    net = tiny_net(dims).eval()
    image = synthetic_batch(dims, 0)[0]
    assert not torch.allclose(net(image).pooled, donor(image).pooled, atol=1e-3)
    apply(Full().plan(net, source), net, source, seed=0)
    for ours, theirs in zip(net.encode(image), donor.encode(image), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_grey_image_gives_what_its_three_channel_copy_gave(tmp_path: Path) -> None:
    donor = trained_net(2).eval()
    source = tiny_source(tmp_path, donor)
    net = tiny_net(2, in_channels=1).eval()
    apply(Full().plan(net, source), net, source, seed=0)
    grey = synthetic_batch(2, 0, channels=1)[0]
    torch.testing.assert_close(net(grey).pooled, donor(grey.repeat(1, 3, 1, 1)).pooled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("decoder", "action"), [("fresh", Action.FRESH), ("copy", Action.COPY)])
def test_the_decoder_is_fresh_unless_asked_for(decoder: str, action: Action, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2, decoder=True))
    plan = Full.model_validate({"decoder": decoder}).plan(tiny_net(2, decoder=True), source)
    assert {e.action for e in plan.entries if e.stage == "decoder"} == {action}
    assert {e.action for e in plan.entries if e.stage == "head.label"} == {Action.FRESH}
    assert plan.problems == ()


def test_asking_for_a_decoder_that_the_source_lacks_is_a_problem(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    assert Full(decoder="copy").plan(tiny_net(2, decoder=True), source).problems


@pytest.mark.parametrize("fill", ["average", "centre"])
def test_the_fill_reaches_every_kernel(fill: str, tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2))
    plan = Full.model_validate({"fill": fill}).plan(tiny_net(3), source)
    kernels = [e for e in plan.entries if e.target.endswith("conv.weight") and e.target.startswith("encoder.")]
    assert {(e.action, e.args["fill"]) for e in kernels} == {(Action.INFLATE, fill)}


@pytest.mark.parametrize("dims", [2, 3])
def test_a_network_with_one_class_more_answers_for_the_old_ones_as_the_source_does(dims: int) -> None:
    old, new = ("nodule", "effusion"), ("effusion", "hernia", "nodule")
    donor, net = trained_net(dims, outputs=2).eval(), tiny_net(dims, outputs=3, seed=3).eval()
    donor.tasks = {"label": Task(kind="multilabel", classes=old)}
    net.tasks = {"label": Task(kind="multilabel", classes=new)}
    source = SourceWeights.of(donor, "donor", InputSpec(), "tiny")
    image = synthetic_batch(dims, 0)[0]
    fresh = net(image).logits["label"]
    apply(Full(heads="match").plan(net, source), net, source, seed=0)
    found, theirs = net(image).logits["label"], donor(image).logits["label"]
    torch.testing.assert_close(found[:, [2, 0]], theirs, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(fresh[:, [2, 0]], theirs, atol=1e-2)


@pytest.mark.parametrize("heads", ["copy", "match"])
def test_copied_heads_are_whole_where_matched_ones_are_their_rows(heads: str) -> None:
    """A head that weighs instances by attention has weights besides its rows; a task goes on with all of them."""
    donor, net = (tiny_net(2, outputs=2, seed=seed) for seed in (1, 2))
    for each in (donor, net):
        each.heads["label"] = PooledInstances(8, 2, pool=Pooled("gated_attention", "embedding"), kind="multiclass")
        each.tasks = {"label": Task(kind="multiclass", classes=("a", "b"))}
    source = SourceWeights.of(donor, "donor", InputSpec(), "tiny")
    plan = Full.model_validate({"heads": heads}).plan(net, source)
    plan.require_sound()
    apply(plan, net, source, seed=0)
    theirs = donor.state_dict()
    same = {name for name, value in net.state_dict().items() if torch.equal(value, theirs[name])}
    assert (same == set(theirs)) == (heads == "copy")
    assert {"heads.label.linear.weight", "encoder.stem.conv.weight"} <= same


def test_a_copied_head_needs_the_decoder_that_it_reads() -> None:
    donor = tiny_net(3, decoder=True)
    source = SourceWeights.of(donor, "donor", InputSpec(axes="DHW"), "tiny")
    with pytest.raises(PlanError, match=r'heads = "copy" keeps rows that read the source.s decoder'):
        Full(heads="copy").plan(tiny_net(3, decoder=True), source)
    net = tiny_net(3, decoder=True, seed=5)
    apply(Full(heads="copy", decoder="copy").plan(net, source), net, source, seed=0)
    assert all(torch.equal(value, donor.state_dict()[name]) for name, value in net.state_dict().items())
