"""Heads kept for classes of the same name: rows, label map, proof, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from allograft.catalog import parts
from allograft.core.errors import PlanError
from allograft.core.input_spec import InputSpec
from allograft.core.task import Task
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.starts.full import Full
from allograft.weights.apply import apply
from allograft.weights.rules import Action
from allograft.weights.source import SourceWeights, WeightSource

MATCH = Full(heads="match")


def net_for(task: Task, *, dims: int = 2, seed: int = 0, decoder: str = "", **spec: Any) -> Network:
    chosen = NetSpec(encoder="cbr_tiny", width=0.125, dims=dims, decoder=decoder, **spec)
    return build_network(chosen, {task.head: task}, in_channels=1, seed=seed, parts=parts(chosen))


def multilabel(*classes: str, head: str = "label") -> Task:
    return Task(kind="multilabel", classes=classes, head=head)


def source_of(task: Task, folder: Path | None = None, **spec: Any) -> tuple[Network, SourceWeights]:
    net = net_for(task, seed=9, **spec).eval()
    with torch.no_grad():
        for value in net.heads.parameters():
            value.add_(torch.randn(value.shape))
    return net, SourceWeights.of(net, "run", InputSpec(channels=1), "cbr_tiny")


def rows(net: Network, head: str = "label") -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in net.state_dict().items() if k.startswith(f"heads.{head}.")}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_classes_of_the_same_name_keep_their_rows_and_others_are_as_built(kind: Any, dims: int) -> None:
    old = Task(kind=kind, classes=("Pleural_Effusion", "nodule", "mass"))
    theirs, source = source_of(old, dims=dims)
    new = Task(kind=kind, classes=("Nodule", "hernia", "pleural effusion"))
    net = net_for(new, dims=dims, seed=1).eval()
    built, plan = rows(net), MATCH.plan(net, source)
    entries = {e.target: e for e in plan.entries if e.stage == "head.label"}
    assert {e.action for e in entries.values()} == {Action.SELECT}
    said = "label map: Nodule<-nodule, hernia: fresh, pleural effusion<-Pleural_Effusion; not used: mass"
    assert all(e.args["rows"] == "1 new 0" and said in e.why for e in entries.values())
    assert f"head label: {said}" in plan.notes
    for _ in range(2):  # twice is once
        apply(plan, net, source, seed=0)
        for key, value in rows(net).items():
            given = source[key]
            assert torch.equal(value[[0, 2]], given[[1, 0]])
            assert torch.equal(value[1], built[key][1])
    image = torch.randn(2, 1, *[16] * dims)
    torch.testing.assert_close(net(image).logits["label"][:, [0, 2]], theirs(image).logits["label"][:, [1, 0]])


def test_the_same_classes_are_copied_bit_for_bit() -> None:
    theirs, source = source_of(multilabel("a", "b"))
    net = net_for(multilabel("A", "B"), seed=1)
    plan = MATCH.plan(net, source)
    assert {e.action for e in plan.entries if e.stage == "head.label"} == {Action.COPY}
    apply(plan, net, source, seed=0)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in rows(net).items())


@pytest.mark.parametrize("dims", [2, 3])
def test_a_segmentation_keeps_its_background_and_needs_the_decoder(dims: int) -> None:
    seg = {"kind": "segmentation", "head": "organ"}
    size = {"dims": dims, "decoder": "unet"}
    theirs, source = source_of(Task(classes=("background", "liver", "spleen"), **seg), **size)
    net = net_for(Task(classes=("other tissue", "spleen", "kidney", "Liver"), **seg), seed=1, **size)
    with pytest.raises(PlanError, match="decoder: copy"):
        MATCH.plan(net, source)
    start = Full(heads="match", decoder="copy")
    plan = start.plan(net, source)
    plan.require_sound()
    assert next(e for e in plan.entries if e.target.endswith("conv.weight") and "organ" in e.target).args["rows"] == (
        "0 2 new 1"
    )
    apply(plan, net, source, seed=0)
    image = torch.randn(1, 1, *[16] * dims)
    found, wanted = net.eval()(image).logits["organ"], theirs(image).logits["organ"]
    torch.testing.assert_close(found[:, [0, 1, 3]], wanted[:, [0, 2, 1]])


def test_a_background_of_another_name_in_the_source_is_no_other_class() -> None:
    seg = {"kind": "segmentation", "head": "organ"}
    _, source = source_of(Task(classes=("nodule", "background"), **seg), decoder="unet")
    net = net_for(Task(classes=("rest", "background-ish"), **seg), decoder="unet")
    assert "keeps no row" in Full(heads="match", decoder="copy").plan(net, source).problems[0]


def test_the_head_that_shares_most_classes_is_taken_and_its_own_name_goes_first() -> None:
    _, source = source_of(multilabel("a", "b", head="findings"))
    net = net_for(multilabel("b", "x"), seed=1)
    plan = MATCH.plan(net, source)
    entry = next(e for e in plan.entries if e.target == "heads.label.linear.weight")
    assert (entry.source, entry.args["rows"]) == ("heads.findings.linear.weight", "1 new")


def test_a_binary_network_has_the_row_of_its_positive_class() -> None:
    _, source = source_of(Task(kind="binary", classes=("benign", "malignant")))
    assert source.card.classes == {"label": ("malignant",)}
    net = net_for(multilabel("scar", "malignant"), seed=1)
    apply(MATCH.plan(net, source), net, source, seed=0)
    key = "heads.label.linear.weight"
    assert torch.equal(net.state_dict()[key][1], source[key][0])


def card_source(folder: Path, state: dict[str, torch.Tensor], **card: Any) -> SourceWeights:
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "x.safetensors")
    fields = {
        "name": "x",
        "title": "x",
        "origin": "file:x",
        "license": "own",
        "commercial": True,
        "encoder": "cbr_tiny",
    }
    made = WeightSource.model_validate({**fields, "reference": {"title": "x"}, **card})
    return SourceWeights.open(made, folder / "x.safetensors")


def test_bare_heads_of_a_card_are_found_and_a_point_convolution_is_a_linear_layer(tmp_path: Path) -> None:
    theirs, _ = source_of(multilabel("a", "b"))
    state = {k.removeprefix("encoder."): v for k, v in theirs.state_dict().items() if k.startswith("encoder.")}
    weight = theirs.state_dict()["heads.label.linear.weight"]
    state |= {"fc.weight": weight[:, :, None, None], "fc.bias": theirs.state_dict()["heads.label.linear.bias"]}
    key_map = ((r"fc\.(.+)", r"heads.findings.\1"), ("(.+)", r"\1"))
    source = card_source(tmp_path, state, key_map=key_map, classes={"findings": ("a", "b")})
    net = net_for(multilabel("b", "c"), seed=1)
    plan = MATCH.plan(net, source)
    assert plan.problems == ()
    apply(plan, net, source, seed=0)
    assert torch.equal(net.state_dict()["heads.label.linear.weight"][0], weight[1])
    wrong = card_source(tmp_path, state, key_map=key_map, classes={"findings": ("a", "b", "c")})
    assert "has 2 rows, the card names 3 classes" in MATCH.plan(net, wrong).problems[0]


@pytest.mark.parametrize(
    ("classes", "says"),
    [((), "names no classes"), (("x", "y"), "none of its classes (b, c) is one of the source's (x, y)")],
)
def test_keeping_nothing_by_name_is_a_problem_and_never_silence(classes: tuple[str, ...], says: str) -> None:
    _, source = source_of(multilabel("x", "y"))
    source.card = source.card.model_copy(update={"classes": {"label": classes} if classes else {}})
    assert says in MATCH.plan(net_for(multilabel("b", "c")), source).problems[0]
    assert Full().plan(net_for(multilabel("b", "c")), source).problems == ()


def test_heads_of_another_width_are_refused() -> None:
    _, source = source_of(multilabel("a", "b"))
    net = net_for(multilabel("a", "c"))
    net.heads["label"].linear = torch.nn.Linear(5, 2)
    assert "features, the network's head" in " ".join(MATCH.plan(net, source).problems)


def test_a_row_that_is_not_as_the_plan_says_is_refused() -> None:
    _, source = source_of(multilabel("a", "b"))
    net = net_for(multilabel("b", "c"), seed=1)
    plan = MATCH.plan(net, source)
    head = net.heads["label"].linear
    head.bias = torch.nn.Parameter(head.weight.view(-1)[:2])  # shares memory: the second row written spoils the first
    with pytest.raises(PlanError, match=r"heads\.label\.linear\.weight was to be"):
        apply(plan, net, source, seed=0)
