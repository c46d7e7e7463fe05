from __future__ import annotations

from pathlib import Path

import pytest
import torch

from allograft.core.errors import PlanError
from allograft.core.input_spec import InputSpec
from allograft.testing.tiny import tiny_net
from allograft.weights.export import TENSORS, open_folder, save_folder
from allograft.weights.source import SourceWeights
from tiny_source import tiny_source, trained_net


@pytest.mark.parametrize("dims", [2, 3])
def test_a_live_network_survives_the_disk_bit_for_bit(dims: int, tmp_path: Path) -> None:
    live = SourceWeights.of(trained_net(dims), "own", InputSpec(), "tiny", seen=("ward",))
    saved = save_folder(live, tmp_path / "run")
    assert saved.verified
    assert list(saved) == sorted(live)
    assert all(torch.equal(saved[key], live[key]) for key in live)
    assert saved.card.fingerprint == live.card.fingerprint
    assert save_folder(live, tmp_path / "run").card == saved.card


def test_names_are_mapped_once(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, trained_net(2), prefix="module.", key_map=((r"module\.(.+)", r"\1"),))
    saved = save_folder(source, tmp_path / "run")
    assert set(saved) == set(source)
    assert saved.card.key_map == ()


def test_other_weights_are_never_overwritten_and_damage_is_seen(tmp_path: Path) -> None:
    save_folder(SourceWeights.of(trained_net(2), "own", InputSpec(), "tiny"), tmp_path / "run")
    with pytest.raises(PlanError, match="holds other weights"):
        save_folder(SourceWeights.of(tiny_net(2), "own", InputSpec(), "tiny"), tmp_path / "run")
    path = tmp_path / "run" / TENSORS
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PlanError, match="SHA-256 expected"):
        open_folder(tmp_path / "run")
