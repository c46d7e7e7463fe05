from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from allograft.core.errors import PlanError
from allograft.core.input_spec import InputSpec
from allograft.core.reference import Reference
from allograft.testing.tiny import tiny_net
from allograft.weights.card import WeightSource
from allograft.weights.keymap import DROPPED
from allograft.weights.source import SourceWeights, file_sha256
from tiny_source import tiny_source, trained_net


def card(**changes: object) -> WeightSource:
    base: dict[str, object] = {
        "name": "x",
        "title": "X",
        "origin": "file:/x",
        "license": "MIT",
        "commercial": True,
        "reference": Reference(title="own"),
        "encoder": "tiny",
    }
    return WeightSource.model_validate({**base, **changes})


def write(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    path = folder / "x.safetensors"
    save_file(state, path)
    return path


def test_names_are_mapped_and_what_is_dropped_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, {"module.a": torch.ones(2), "module.fc.weight": torch.ones(3, 4)})
    lines = ((r"module\.fc\..+", None), (r"module\.(.+)", r"\1"))
    source = SourceWeights.open(card(key_map=lines), path)
    assert list(source) == ["a"]
    assert "a" in source
    assert len(source) == 1
    assert torch.equal(source["a"], torch.ones(2))
    assert [(u.source, u.shape, u.why) for u in source.unmapped] == [("module.fc.weight", (3, 4), DROPPED)]


def test_the_hash_is_checked_and_both_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": torch.ones(2)})
    right = file_sha256(path)
    assert SourceWeights.open(card(sha256=right), path).verified
    wrong = "0" * 64
    with pytest.raises(PlanError, match=rf"expected {wrong}, got {right}"):
        SourceWeights.open(card(sha256=wrong), path)
    with pytest.raises(PlanError, match="cannot be read"):
        SourceWeights.open(card(sha256=right), tmp_path / "none")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_numbers_that_are_not_finite_are_refused_by_name(bad: float, form: str, tmp_path: Path) -> None:
    state = {"good": torch.ones(3), "module.bad": torch.tensor([1.0, bad, 2.0])}
    path = tmp_path / "x"
    save_file(state, path) if form == "safetensors" else torch.save(state, path)
    with pytest.raises(PlanError, match=r"module\.bad holds 1 of 3 numbers"):
        SourceWeights.open(card(key_map=((r"module\.(.+)", r"\1"),)), path)
    # With a known hash nothing is read at opening; the tensor is refused when it is asked for.
    source = SourceWeights.open(card(sha256=file_sha256(path)), path)
    assert torch.equal(source["good"], torch.ones(3))
    with pytest.raises(PlanError, match="holds 1 of 3"):
        source["module.bad"]


@pytest.mark.parametrize("dims", [2, 3])
def test_a_live_network_is_a_source_like_any_other(dims: int, tmp_path: Path) -> None:
    net = trained_net(dims)
    from_disk = tiny_source(tmp_path, net, heads=True)
    live = SourceWeights.of(net, "own", InputSpec(), "tiny", seen=("ward",))
    assert dict(live.shapes) == dict(from_disk.shapes)
    assert all(torch.equal(live[key], from_disk[key]) for key in live)
    assert live.encoder_name == "tiny"
    assert live.card.fingerprint is not None
    assert live.card.seen == ("ward",)


def test_later_training_does_not_change_a_live_source() -> None:
    net = tiny_net(2)
    source = SourceWeights.of(net, "own", InputSpec(), "tiny")
    before = source["stem.conv.weight"].clone()
    with torch.no_grad():
        net.encoder.get_parameter("stem.conv.weight").zero_()
    assert torch.equal(source["stem.conv.weight"], before)


def test_a_child_inherits_what_its_parent_saw_and_forbids() -> None:
    parent = card(seen=("ImageNet",), commercial=False, license="CC-BY-NC-4.0")
    child = SourceWeights.of(tiny_net(2), "own", InputSpec(), "tiny", seen=("ward",), parent=parent).card
    assert child.seen == ("ImageNet", "ward")
    assert (child.license, child.commercial) == ("CC-BY-NC-4.0", False)
