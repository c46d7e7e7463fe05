"""Hostile files: none runs anything; each is refused, or its tensors only are read and the global is named.

Every payload would write a marker file. `test_the_payloads_are_real` runs one the careless way to show that the
tests can say no.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from allograft.core.errors import PlanError
from allograft.weights.reading.contents import read_content
from allograft.weights.reading.inert import UnsafeFile

STATE = {"conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "conv.bias": torch.ones(2)}
FORMS = ("zip", "legacy", "pickle", "torchscript", "bundle", "bundle zip")


class Payload:
    """Calls `function` with `args` when a careless reader unpickles it."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


class Nested:
    """Hides a payload in its state."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside


def raw_payload(name: str, marker: str) -> bytes:
    """Return the opcodes of one value that runs `touch marker` in its own way."""
    command = f"touch {marker}".encode()
    text = b"X" + struct.pack("<I", len(command)) + command
    code = f"open('{marker}','w').close()".encode()
    program = b"X" + struct.pack("<I", len(code)) + code
    short = {
        "GLOBAL": b"cos\nsystem\n" + text + b"\x85R",
        "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93" + text + b"\x85R",
        "INST": b"(" + text + b"ios\nsystem\n",
        "OBJ": b"(cos\nsystem\n" + text + b"o",
        "EXT": b"\x82\x01" + text + b"\x85R",
        "NEWOBJ": b"csubprocess\nPopen\n" + text + b"\x85\x81",
        "NEWOBJ_EX": b"csubprocess\nPopen\n" + text + b"\x85}\x92",
        "eval": b"cbuiltins\neval\n" + program + b"\x85R",
        "exec": b"cbuiltins\nexec\n" + program + b"\x85R",
        "python 2 eval": b"c__builtin__\neval\n" + program + b"\x85R",
        "subprocess": b"csubprocess\ncheck_output\n](X\x05\x00\x00\x00touch" + _text(marker) + b"e\x85R",
        "torch.hub": b"ctorch.hub\nload\n" + text + b"\x85R",
        "torch.load": b"ctorch\nload\n" + text + b"\x85R",
        "pickle.loads": b"cpickle\nloads\nU" + _nested_pickle(command) + b"\x85R",
        "runpy": b"crunpy\nrun_path\n" + text + b"\x85R",
        "importlib": b"cimportlib\nimport_module\nX\x02\x00\x00\x00os\x85R",
        "getattr": b"cbuiltins\ngetattr\n(cos\n_wrap_close\nX\x08\x00\x00\x00__init__tR",
        "copyreg": b"ccopyreg\nadd_extension\n(X\x02\x00\x00\x00osX\x06\x00\x00\x00systemK\x01tR",
        "code object": b"ctypes\nFunctionType\n(ctypes\nCodeType\n)R}tR",
        "BUILD": b"cos\nsystem\n)R}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb" + text + b"b",
        "dotted": b"\x8c\x05torch\x8c\x13storage.os.system.x\x93" + text + b"\x85R",
        "through torch": b"ctorch.storage\nos.system\n" + text + b"\x85R",
        "dill": b"cdill._dill\n_create_code\n" + text + b"\x85R",
        "rebuild from type": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nNX\x01\x00\x00\x00a\x85}tR",
    }
    return short[name]


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _nested_pickle(command: bytes) -> bytes:
    inner = b"cos\nsystem\n(S'" + command + b"'\ntR."
    return bytes([len(inner)]) + inner


PAYLOADS = (
    *("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "EXT", "NEWOBJ", "NEWOBJ_EX", "BUILD", "eval", "exec", "python 2 eval"),
    *("subprocess", "torch.hub", "torch.load", "pickle.loads", "runpy", "importlib", "getattr", "copyreg", "dotted"),
    *("code object", "dill", "through torch", "rebuild from type"),
)

INERT = {
    "EXT": ("EXT1.1",),
    "dotted": ("torch.storage.os.system.x",),
    "through torch": ("torch.storage.os.system",),
    "dill": ("dill._dill._create_code",),
}
"""Globals that no list of hostile ones knows: tensors are read, nothing is called, the global is named."""

REFUSED = frozenset(PAYLOADS) - frozenset(INERT)


def beside_weights(payload: bytes) -> bytes:
    """Return a pickle {"state_dict": {"w": float32 array}, "x": payload}: honest weights beside the payload."""
    numbers = pickle.dumps({"w": STATE["conv.bias"].numpy()}, protocol=2)[2:-1]
    return b"\x80\x04}(X\x0a\x00\x00\x00state_dict" + numbers + b"X\x01\x00\x00\x00x" + payload + b"u."


def made(form: str, data: bytes, folder: Path) -> Path:
    """Write a pickle as a file of a form."""
    path = folder / "model.pt"
    if form == "pickle":
        path.write_bytes(data)
    elif form == "legacy":
        head = b"".join(pickle.dumps(v, protocol=2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
        path.write_bytes(head + data + pickle.dumps([], protocol=2))
    else:
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as archive:
            archive.writestr("model/data.pkl", data)
            archive.writestr("model/byteorder", b"little")
            if form == "torchscript":
                archive.writestr("model/code/__torch__.py", b"import os; os.system('touch here')")
        path.write_bytes(inner.getvalue())
    if form.startswith("bundle"):
        path = _bundle(path, folder, zipped=form.endswith("zip"))
    return path


def _bundle(model: Path, folder: Path, *, zipped: bool) -> Path:
    """Put a model into a MONAI bundle whose configuration would run code too."""
    config = b'{"version": "1", "x": "$__import__(\'os\').system(\'touch here\')"}'
    if zipped:
        path = folder / "bundle.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("brats/configs/metadata.json", config)
            archive.write(model, "brats/models/model.pt")
        return path
    (folder / "b" / "models").mkdir(parents=True)
    (folder / "b" / "configs").mkdir()
    (folder / "b" / "configs" / "metadata.json").write_bytes(config)
    model.rename(folder / "b" / "models" / "model.pt")
    return folder / "b"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PAYLOADS)
def test_nothing_is_executed_and_the_global_is_named(name: str, form: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = made(form, beside_weights(raw_payload(name, str(marker))), tmp_path)
    if form == "torchscript" or name in REFUSED:
        with pytest.raises(UnsafeFile, match="refused, because") as raised:
            read_content(path)
        assert str(tmp_path) in str(raised.value)
    else:
        content = read_content(path)
        assert any(word in " ".join(content.refused) for word in INERT[name])
        assert torch.equal(content.containers["state_dict"].read("w"), STATE["conv.bias"])
    assert not marker.exists()
    assert not Path("here").exists()


@pytest.mark.parametrize("name", ["GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "eval", "exec", "subprocess"])
def test_the_payloads_are_real(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    data = beside_weights(raw_payload(name, str(marker)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pickle.loads(data)
    assert marker.exists()


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("where", ["beside", "inside", "list", "key", "object", "tensor hooks"])
def test_torch_saved_payloads_in_nested_places(where: str, form: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil: Any = Payload(os.system, f"touch {marker}")
    value: Any = {
        "beside": {"state_dict": STATE, "x": evil},
        "inside": {"state_dict": {**STATE, "x": evil}},
        "list": {"state_dict": STATE, "x": [[({"a": evil},)]]},
        "key": {"state_dict": STATE, "x": OrderedDict([("a", Nested(evil))])},
        "object": Nested({"state_dict": STATE, "x": evil}),
        "tensor hooks": {"state_dict": STATE, "x": torch.nn.Parameter(torch.ones(1))},
    }[where]
    if where == "tensor hooks":
        value["x"].extra = Nested(evil)
    path = tmp_path / "x.pth"
    torch.save(value, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UnsafeFile, match=r"posix\.system.*nothing was executed"):
        read_content(path)
    assert not marker.exists()


def test_persistent_ids_that_are_no_storage(tmp_path: Path) -> None:
    for pid in (
        b"cos\nsystem\n",
        b"(X\x07\x00\x00\x00storagecos\nsystem\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01t",
    ):
        for form in ("zip", "legacy"):
            path = made(form, b"\x80\x02}X\x01\x00\x00\x00a" + pid + b"Qs.", tmp_path)
            with pytest.raises(PlanError, match=r"model\.pt"):
                read_content(path)


def test_a_pickle_inside_a_pickle_of_tensors_is_read_by_the_same_rules(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = b"\x80\x02" + raw_payload("GLOBAL", str(marker)) + b"."
    inner = b"X" + struct.pack("<I", len(evil)) + evil.decode("latin-1").encode()
    data = beside_weights(b"ctorch.storage\n_load_from_bytes\n" + inner + b"\x85R")
    with pytest.raises(PlanError):
        read_content(made("pickle", data, tmp_path))
    assert not marker.exists()


def number(value: int) -> bytes:
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def tensor(storage: int, size: int, stride: int, offset: int) -> bytes:
    """Return a pickle {"w": tensor} over `storage` numbers."""
    pid = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + number(storage) + b"tQ"
    args = b"(" + pid + number(offset) + b"(" + number(size) + b"t(" + number(stride) + b"t\x89}t"
    return b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n" + args + b"Rs."


@pytest.mark.parametrize(
    ("storage", "size", "stride", "offset"),
    [
        (4, -1, 1, 0),
        (4, 4, -1, 0),
        (4, 4, 1, -1),
        (4, 5, 1, 0),
        (4, 4, 2, 0),
        (2**50, 4, 1, 0),
        (4, 2**40, 0, 0),
        (-1, 1, 1, 0),
    ],
)
def test_tensors_that_do_not_lie_in_the_file(storage: int, size: int, stride: int, offset: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", tensor(storage, size, stride, offset))
        archive.writestr("x/data/0", torch.arange(4.0).numpy().tobytes())
    with pytest.raises(PlanError, match=r"x\.pt: not a whole"):
        read_content(path)


def bombs() -> dict[str, bytes]:
    deep = 60_000
    big = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20
    return {
        "memo": b"\x80\x02Nr" + struct.pack("<I", 2**31 - 1) + b".",
        "deep lists": b"\x80\x02" + b"]" * deep + b"a" * (deep - 1) + b".",
        "deep tuples": b"\x80\x02)" + b"\x85" * deep + b".",
        "deep tuple as a key": b"\x80\x02})" + b"\x85" * deep + b"Ns.",
        "deep dictionaries": b"\x80\x02" + b"}K\x01" * deep + b"N" + b"s" * deep + b".",
        "doubling": b"\x80\x02)" + b"2\x86" * 200 + b".",
        "doubling in a dictionary": b"\x80\x02}K\x01)" + b"2\x86" * 200 + b"s.",
        "huge number": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
        "long number": b"\x80\x02L" + b"9" * 60_000 + b"L\n.",
        "announced bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"1.",
        "bytearray": b"\x80\x02cbuiltins\nbytearray\n" + number(2**50) + b"\x85R.",
        "copies": b"\x80\x02]("
        + big
        + b"q\x010"
        + b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R" * 3000
        + b"e.",
        "array of nothing": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01"
        + number(2**50)
        + b"\x85cnumpy\ndtype\n"
        b"X\x02\x00\x00\x00f4\x85R\x89C\x00tb.",
        "itself": b"\x80\x02}q\x00K\x01h\x00s.",
    }


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("name", sorted(bombs()))
def test_pickle_bombs_are_refused_in_bounded_time_and_memory(name: str, form: str, tmp_path: Path) -> None:
    import resource
    import time

    path = made(form, bombs()[name], tmp_path)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(PlanError, match=r"model\.pt"):
        read_content(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kilobytes
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a/../../b", "c:evil", "a\\b"])
def test_names_that_leave_an_archive(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(STATE, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(UnsafeFile, match=r"x\.pt: refused, because the name"):
        read_content(path)


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(STATE, path)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x/data.pkl", b"\x80\x02}.")
    with pytest.raises(UnsafeFile, match="twice"):
        read_content(path)


def test_a_zip_bomb_inside_a_bundle(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        archive.writestr("model/data/0", b"\0" * 30_000_000)
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b/models/model.pt", inner.getvalue())
    with pytest.raises(UnsafeFile, match=r"would unpack to"):
        read_content(path)


def test_shards_beside_which_an_index_leads_away(tmp_path: Path) -> None:
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(b"x")
    inside = tmp_path / "model"
    inside.mkdir()
    for name in ("../secret.safetensors", str(secret)):
        (inside / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"a": "{name}"}}}}')
        with pytest.raises(UnsafeFile, match="does not lie beside it"):
            read_content(inside)


def test_arrays_of_objects_in_a_numpy_archive(tmp_path: Path) -> None:
    import numpy as np

    marker = tmp_path / "marker"
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([Payload(os.system, f"touch {marker}")], dtype=object))
    with pytest.raises(PlanError, match="not a whole numpy archive"):
        read_content(path)
    assert not marker.exists()
