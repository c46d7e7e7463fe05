"""TorchScript archives: their tensors by name, read without running the code that lies beside them.

Such an archive is a zip of `code/` (never read here), `data.pkl` (the tree of modules) and one file for
each tensor's numbers. The pickle is looked through opcode by opcode first and then read with a class for
each module that holds attributes and does nothing; any other global is refused by name.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from allograft.core.errors import PlanError

__all__ = ["is_torchscript", "read_torchscript"]

MAX_TREE = 64 * 2**20
"""Largest data.pkl in bytes."""

MAX_NAMES, MAX_DEPTH, MAX_MEMO = 100_000, 64, 2**20

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_OPCODES = {
    "PROTO",
    "STOP",
    "MARK",
    "NONE",
    "NEWTRUE",
    "NEWFALSE",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "EMPTY_DICT",
    "EMPTY_LIST",
    "EMPTY_TUPLE",
    "TUPLE",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
    "APPEND",
    "APPENDS",
    "SETITEM",
    "SETITEMS",
    "BINGET",
    "LONG_BINGET",
    "BINPUT",
    "LONG_BINPUT",
    "MEMOIZE",
    "BINPERSID",
    "GLOBAL",
    "NEWOBJ",
    "REDUCE",
    "BUILD",
    "POP",
    "DUP",
    "FRAME",
}


def is_torchscript(path: Path) -> bool:
    """Tell whether a zip is a TorchScript archive: it has code beside its data."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the module tree by their dotted names, on the CPU.

    Raises:
        PlanError: damaged, big-endian, or holding anything but modules, plain values and tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(_tensors(_Reader(archive, path).tree(), path))
    except PlanError:
        raise
    except Exception as error:  # a broken pickle raises whatever its bytes lead to
        msg = f"{path}: not a whole TorchScript archive ({type(error).__name__}: {error}). Fetch it again."
        raise PlanError(msg) from error


class _Rebuild:
    """Makes a tensor from its storage: what torch._utils._rebuild_tensor_v2 does, checked."""

    __slots__ = ()

    def __call__(self, storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
        if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
            msg = f"a tensor of size {size} has strides {stride} from {offset}"
            raise ValueError(msg)
        if math.prod(size) > storage.numel():
            msg = f"a tensor of size {size} lies in a storage of {storage.numel()} numbers"
            raise ValueError(msg)
        return storage.as_strided(size, stride, offset).clone()


class _Same:
    """Returns the list that it is given: torch.jit's build_intlist and its kin."""

    __slots__ = ()

    def __call__(self, values: list[Any]) -> list[Any]:
        return values


class _Reader(pickle.Unpickler):
    """Reads data.pkl of an open archive."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        tree = next((item for item in archive.infolist() if item.filename.endswith("/data.pkl")), None)
        if tree is None or tree.file_size > MAX_TREE:
            msg = f"{path}: a TorchScript archive holds a data.pkl of at most {MAX_TREE} bytes. Fetch it again."
            raise PlanError(msg)
        self._archive, self._path = archive, path
        self._root = tree.filename.removesuffix("data.pkl")
        _require_little(archive, self._root, path)
        data = archive.read(tree)
        _check_opcodes(data, path)
        super().__init__(io.BytesIO(data))
        # Fresh for every file: what a pickle sets on them is gone with it.
        self._modules: dict[str, type] = {}
        self._storages: dict[str, Tensor] = {}

    def tree(self) -> Any:
        """Return the root module as attributes."""
        return self.load()

    def find_class(self, module: str, name: str) -> Any:
        """Return something harmless for the few names that an archive of modules needs."""
        if module.partition(".")[0] == "__torch__":
            return self._modules.setdefault(f"{module}.{name}", type("Module", (_Module,), {}))
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Rebuild()
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle" and name.startswith("build_") and name.endswith("list"):
            return _Same()
        msg = (
            f"{self._path}: refused, because it holds {module}.{name}, which is neither a module nor a tensor. "
            "Ask its authors for a safetensors file."
        )
        raise PlanError(msg)

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the numbers of a storage as a flat tensor."""
        kind, dtype, key, _, numel = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(key).isdigit():
            msg = f"{self._path}: expected a storage, got {kind!r} {key!r}."
            raise PlanError(msg)
        if key not in self._storages:
            data = self._archive.read(f"{self._root}data/{key}")
            if len(data) != numel * dtype.itemsize:
                msg = f"{self._path}: storage {key} has {len(data)} bytes, expected {numel} numbers of {dtype}."
                raise PlanError(msg)
            empty = torch.empty(0, dtype=dtype)
            self._storages[key] = torch.frombuffer(bytearray(data), dtype=dtype) if data else empty
        return self._storages[key]


class _Module:
    """Attributes of a module; does nothing."""


def _check_opcodes(data: bytes, path: Path) -> None:
    """Refuse opcodes that no archive of modules needs, and memo places that would fill the memory."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in _OPCODES:
            msg = f"{path}: refused, because its data.pkl uses {opcode.name}, which TorchScript does not write."
            raise PlanError(msg)
        if "PUT" in opcode.name and isinstance(argument, int) and argument > MAX_MEMO:
            msg = f"{path}: refused, because its data.pkl asks for {argument} places of memory."
            raise PlanError(msg)


def _require_little(archive: zipfile.ZipFile, root: str, path: Path) -> None:
    order = f"{root}byteorder"
    if order in archive.namelist() and archive.read(order).strip() != b"little":
        msg = f"{path}: was written on a big-endian machine. Ask its authors for a safetensors file."
        raise PlanError(msg)


def _tensors(root: object, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Walk the tree in its own order; modules that are used twice have two names."""
    count, waiting = 0, [("", root, 0)]
    while waiting:
        name, here, depth = waiting.pop()
        count += 1
        if count > MAX_NAMES or depth > MAX_DEPTH:
            msg = f"{path}: refused, because its module tree has more than {MAX_NAMES} names or {MAX_DEPTH} levels."
            raise PlanError(msg)
        if isinstance(here, Tensor):
            yield name, here
        elif isinstance(here, _Module):
            inside = [(f"{name}.{key}" if name else str(key), value, depth + 1) for key, value in vars(here).items()]
            waiting += reversed(inside)
