"""The reader of TorchScript archives: equal to torch's own, and it runs nothing."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from allograft.core.errors import PlanError
from allograft.weights.reading.files import open_tensors
from allograft.weights.reading.torchscript import is_torchscript, read_torchscript


def scripted(folder: Path, *, half: bool = False) -> tuple[Path, dict[str, torch.Tensor]]:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.Linear(3, 2)))
    net = net.half() if half else net
    path = folder / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(net).save(str(path))
    return path, net.state_dict()


@pytest.mark.parametrize("half", [False, True])
def test_tensors_are_those_of_the_module_with_buffers_and_types(half: bool, tmp_path: Path) -> None:
    path, state = scripted(tmp_path, half=half)
    assert is_torchscript(path)
    found = open_tensors(path)
    assert set(found.shapes) == set(state)
    for key, value in state.items():
        assert found.dtypes[key] == value.dtype
        assert torch.equal(found.read(key), value)


def test_a_plain_checkpoint_is_not_taken_for_one_even_if_named_code(tmp_path: Path) -> None:
    path = tmp_path / "code.pt"
    torch.save({"a": torch.ones(2)}, path)
    assert not is_torchscript(path)
    assert set(open_tensors(path).shapes) == {"a"}


def archive(folder: Path, data: bytes, **files: bytes) -> Path:
    path = folder / "made.pt"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("made/data.pkl", data)
        made.writestr("made/code/__torch__.py", b"raise SystemExit")
        for name, content in files.items():
            made.writestr(f"made/{name.replace('__', '/')}", content)
    return path


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch /tmp/allograft-was-here",)


def test_code_in_the_pickle_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    Path("/tmp/allograft-was-here").unlink(missing_ok=True)
    with pytest.raises(PlanError, match=r"refused, because it holds posix\.system"):
        open_tensors(archive(tmp_path, pickle.dumps(Evil(), protocol=2)))
    assert not Path("/tmp/allograft-was-here").exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x80\x02cbuiltins\neval\n.", r"builtins\.eval"),
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\n.", "_rebuild_parameter"),
        (b"\x80\x02ctorch.jit._pickle\nrestore_type_tag\n.", "restore_type_tag"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02(ios\nsystem\n.", "INST"),
        (b"\x80\x02Nr" + struct.pack("<I", 2**31) + b".", "places of memory"),
        (b"\x80\x02N", "not a whole TorchScript archive"),
        (b"", "not a whole TorchScript archive"),
    ],
)
def test_what_no_archive_of_modules_needs_is_refused(data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=says):
        read_torchscript(archive(tmp_path, data))


def storage(numel: int, *, size: int, stride: int = 1, offset: int = 0) -> bytes:
    """Return a pickle of one module with one tensor in storage 0."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    pid = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K" + bytes([numel]) + b"tQ"
    args = b"(" + pid + b"K" + bytes([offset]) + b"(K" + bytes([size]) + b"t(K" + bytes([stride]) + b"t\x89}t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + args + b"R"
    return b"\x80\x02c__torch__\nNet\n)\x81}(" + text("w") + tensor + b"ub."


def test_a_tensor_must_lie_inside_its_storage_and_the_storage_must_be_whole(tmp_path: Path) -> None:
    numbers = torch.arange(4.0)
    good = archive(tmp_path, storage(4, size=2, stride=2, offset=1), data__0=numbers.numpy().tobytes())
    assert torch.equal(read_torchscript(good)["w"], torch.tensor([1.0, 3.0]))
    for data in (storage(4, size=9), storage(4, size=9, stride=0), storage(4, size=4, offset=2)):
        with pytest.raises(PlanError, match="not a whole"):
            read_torchscript(archive(tmp_path, data, data__0=numbers.numpy().tobytes()))
    with pytest.raises(PlanError, match="has 8 bytes, expected 4 numbers"):
        read_torchscript(archive(tmp_path, storage(4, size=4), data__0=b"12345678"))
    with pytest.raises(PlanError, match="big-endian"):
        read_torchscript(archive(tmp_path, storage(4, size=4), byteorder=b"big"))


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    path, _ = scripted(tmp_path)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(PlanError):
        open_tensors(cut)
