"""allograft weights import: any file becomes safetensors with a card, or nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from allograft.cli import app
from allograft.core.errors import ConfigError, PlanError
from allograft.data.origins import Unreachable
from allograft.study.check_weights import build_encoder
from allograft.study.import_weights import import_weights
from allograft.study.sources import find_card, open_source
from allograft.weights.card import WeightSource
from allograft.weights.source import file_sha256

DESCRIBED: dict[str, Any] = {
    "name": "tiny18",
    "title": "a narrow ResNet-18 of random numbers",
    "origin": "hand:tiny.pth",
    "get": "Ask the ward.",
    "license": "MIT",
    "commercial": True,
    "reference": {"title": "own"},
    "encoder": "resnet18",
    "width": 0.125,
    "container": "state_dict",
    "expects": {"size": [32, 32]},
    "key_map": [[r"module\.fc\..+", None], [r"module\.(.+)", r"\1"]],
}


def card(**changes: Any) -> WeightSource:
    return WeightSource.model_validate({**DESCRIBED, **changes})


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the encoder's tensors, drawn at random, statistics away from their first values."""
    torch.manual_seed(seed)
    found = build_encoder(card()).state_dict()
    return {key: value if value.dtype == torch.int64 else torch.rand(value.shape) + 0.1 for key, value in found.items()}


def checkpoint(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    path = folder / "tiny.pth"
    named = {f"module.{key}": value for key, value in tensors.items()} | {"module.fc.weight": torch.ones(3, 4)}
    torch.save({"state_dict": named, "epoch": 3}, path)
    return path


def test_what_is_written_opens_as_a_source_with_hash_and_fingerprint(tmp_path: Path) -> None:
    tensors = state()
    done = import_weights(checkpoint(tmp_path, tensors), card(), tmp_path / "new" / "x.safetensors")
    assert (done.proof, done.coverage.numbers) == ("unproven", 1.0)
    assert done.sha256 == file_sha256(tmp_path / "new" / "x.safetensors")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"x.safetensors", "x.yaml"}
    for name in ("new/x.safetensors", "new/x.yaml"):
        source = open_source(name, tmp_path)
        assert source.verified
        assert set(source) == set(tensors)
        assert all(torch.equal(source[key], tensors[key]) for key in tensors)
    written = find_card("new/x.yaml", tmp_path)
    assert written.fingerprint is not None
    assert (written.key_map, written.container, written.layout, written.get) == ((), "", "torch", "Ask the ward.")
    again = import_weights(tmp_path / "new" / "x.safetensors", written, tmp_path / "y.safetensors")
    assert again.proof == "fingerprint"


def test_a_file_that_misses_the_cards_fingerprint_is_refused(tmp_path: Path) -> None:
    right = import_weights(checkpoint(tmp_path, state()), card(), tmp_path / "x.safetensors")
    mark = find_card(right.card).fingerprint
    with pytest.raises(PlanError, match="fingerprint"):
        import_weights(checkpoint(tmp_path, state(1)), card(fingerprint=mark), tmp_path / "y.safetensors")
    assert not (tmp_path / "y.safetensors").exists()
    assert not (tmp_path / "y.yaml").exists()


@pytest.mark.parametrize("fault", ["missing", "shape", "name", "not finite", "hash"])
def test_nothing_is_written_where_the_weights_do_not_arrive_whole(fault: str, tmp_path: Path) -> None:
    tensors, described = state(), card()
    if fault == "missing":
        del tensors["layer4.1.conv2.weight"]
    elif fault == "shape":
        tensors["conv1.weight"] = torch.ones(8, 3, 3, 3)
    elif fault == "name":
        tensors = {f"encoder.{key}": value for key, value in tensors.items()}
    elif fault == "not finite":
        tensors["bn1.bias"][0] = float("nan")
    else:
        described = card(sha256="0" * 16)
    with pytest.raises(PlanError):
        import_weights(checkpoint(tmp_path, tensors), described, tmp_path / "x.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.pth"]


def test_nothing_is_written_over_and_the_ending_is_asked_for(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, state())
    for there in ("x.safetensors", "x.yaml"):
        (tmp_path / there).write_text("mine")
        with pytest.raises(ConfigError, match=f"{there} exists"):
            import_weights(path, card(), tmp_path / "x.safetensors")
        assert (tmp_path / there).read_text() == "mine"
        (tmp_path / there).unlink()
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        import_weights(path, card(), tmp_path / "x.pth")


def test_tensors_without_a_card_say_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"no card x\.yaml beside it.*weights import"):
        find_card("x.safetensors", tmp_path)


def test_a_card_to_be_fetched_by_hand_says_how_and_names_the_command(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("ALLOGRAFT_WHEELHOUSE", raising=False)
    (tmp_path / "card.yml").write_text(yaml.safe_dump(card().model_dump(mode="json")))
    with pytest.raises(Unreachable, match=r"Ask the ward\..*allograft weights import FILE --as tiny18"):
        open_source("card.yml", tmp_path)


def test_the_command_and_its_licence(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path, state())
    described = card(license="CC-BY-NC-4.0", commercial=False, origin="file:tiny.pth")
    Path("card.yml").write_text(yaml.safe_dump(described.model_dump(mode="json")))
    command = ["weights", "import", "tiny.pth", "--as", "card.yml", "--out", "x.safetensors", "--json"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code != 0
    assert not Path("x.safetensors").exists()
    done = CliRunner().invoke(app, [*command, "--accept-licence", "tiny18"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["name"] == "tiny18"
    assert not find_card("x.safetensors").commercial
