from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from allograft.core.errors import PlanError
from allograft.weights.reading.files import MemoryTensors, open_tensors

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}


def saved(folder: Path, value: Any, name: str = "x.pth", *, legacy: bool = False) -> Path:
    path = folder / name
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_formats_are_known_by_content_not_by_ending(form: str, tmp_path: Path) -> None:
    if form == "safetensors":
        save_file(STATE, tmp_path / "x.pth")
        path = tmp_path / "x.pth"
    else:
        path = saved(tmp_path, STATE, "x.safetensors", legacy=form == "legacy")
    found = open_tensors(path)
    assert dict(found.shapes) == {"a.weight": (2, 3), "n": ()}
    assert found.dtypes["n"] == torch.int64
    assert all(torch.equal(found.read(key), value) for key, value in STATE.items())


def test_containers_are_walked_and_what_is_no_tensor_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path, {"epoch": 3, "outer": {"state_dict": {**STATE, "arch": "resnet"}}})
    found = open_tensors(path, "outer.state_dict")
    assert set(found.shapes) == set(STATE)
    assert [(each.source, each.why) for each in found.skipped] == [("arch", "not a tensor (str)")]


def test_a_wrong_or_forgotten_container_is_refused_with_the_right_one(tmp_path: Path) -> None:
    path = saved(tmp_path, {"epoch": 3, "state_dict": STATE})
    with pytest.raises(PlanError, match=r'under "state_dict": write container: state_dict'):
        open_tensors(path)
    with pytest.raises(PlanError, match=r'container "model" is not in the file; it holds: epoch, state_dict'):
        open_tensors(path, "model")
    flat = tmp_path / "flat.safetensors"
    save_file(STATE, flat)
    with pytest.raises(PlanError, match="flat"):
        open_tensors(flat, "state_dict")


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_a_truncated_file_is_refused(form: str, tmp_path: Path) -> None:
    state = {f"t{i}": torch.randn(40, 40) for i in range(4)}
    path = tmp_path / "x"
    if form == "safetensors":
        save_file(state, path)
    else:
        saved(tmp_path, state, "x", legacy=form == "legacy")
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(PlanError, match="x: "):
            open_tensors(path)


def test_junk_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a checkpoint at all")
    with pytest.raises(PlanError, match="nor a whole PyTorch checkpoint"):
        open_tensors(tmp_path / "x")
    (tmp_path / "e").write_bytes(b"")
    with pytest.raises(PlanError, match="e: "):
        open_tensors(tmp_path / "e")
    with pytest.raises(PlanError, match="cannot be read"):
        open_tensors(tmp_path / "none")
    with pytest.raises(PlanError, match="expected named tensors, got Tensor"):
        open_tensors(saved(tmp_path, torch.ones(3)))
    with pytest.raises(PlanError, match="not a checkpoint of weights"):
        open_tensors(saved(tmp_path, {"epoch": 3}))


class _Payload:
    """Writes a marker file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle", "nested"])
def test_a_malicious_pickle_is_never_executed(form: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "x.pth"
    evil: Any = {"state_dict": STATE, "evil": _Payload(marker)}
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(evil, protocol=2))
    elif form == "nested":
        saved(tmp_path, {"state_dict": {**STATE, "b": [{"c": _Payload(marker)}]}})
    else:
        saved(tmp_path, evil, legacy=form == "legacy")
    with pytest.raises(PlanError, match="could run code"):
        open_tensors(path, "state_dict")
    assert not marker.exists()
    if form == "zip":  # the payload is real: the unsafe way would have run it
        torch.load(path, weights_only=False)
        assert marker.exists()


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", b"\0" * 20_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(PlanError, match="would unpack to 20000000"):
        open_tensors(path)


def test_memory_tensors_are_a_tensor_file() -> None:
    found = MemoryTensors(STATE)
    assert found.shapes["a.weight"] == (2, 3)
    assert torch.equal(found.read("a.weight"), STATE["a.weight"])
