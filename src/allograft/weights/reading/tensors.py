"""Tensors by name: one interface for what is in memory, in a safetensors file, or stored in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from allograft.core.errors import PlanError
from allograft.weights.plan import Unused
from allograft.weights.reading.stored import Stored

__all__ = ["JoinedTensors", "MemoryTensors", "SafetensorsFile", "StoredTensors", "TensorFile"]

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class TensorFile(Protocol):
    """Named tensors; shapes and types are known without reading data where the format allows."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    skipped: tuple[Unused, ...]

    def read(self, name: str) -> Tensor:
        """Return one tensor on the CPU."""


class MemoryTensors:
    """Tensors that are in memory already; `skipped` says what of the file was no tensor."""

    def __init__(self, tensors: Mapping[str, Tensor], skipped: tuple[Unused, ...] = ()) -> None:
        self._tensors = dict(tensors)
        self.shapes: Mapping[str, tuple[int, ...]] = {k: tuple(t.shape) for k, t in self._tensors.items()}
        self.dtypes: Mapping[str, torch.dtype] = {k: t.dtype for k, t in self._tensors.items()}
        self.skipped = skipped

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        return self._tensors[name].detach()


class StoredTensors:
    """Tensors of a checkpoint; `where` names the file in errors, `skipped` what was no tensor."""

    def __init__(self, tensors: Mapping[str, Stored], where: str, skipped: tuple[Unused, ...] = ()) -> None:
        self._tensors, self._where = dict(tensors), where
        self.shapes: Mapping[str, tuple[int, ...]] = {k: t.shape for k, t in self._tensors.items()}
        self.dtypes: Mapping[str, torch.dtype] = {k: t.dtype for k, t in self._tensors.items()}
        self.skipped = skipped

    def read(self, name: str) -> Tensor:
        """Return one tensor.

        Raises:
            KeyError: there is none of that name.
            PlanError: the file does not hold its numbers.
        """
        stored = self._tensors[name]
        try:
            return stored.load()
        except Exception as error:  # a damaged archive raises what its bytes lead to
            msg = f"{self._where}: tensor {name} cannot be read ({error}). Fetch the file again."
            raise PlanError(msg) from error


class SafetensorsFile:
    """A safetensors file; only its header is read until a tensor is asked for.

    Raises:
        PlanError: the file is truncated, or holds a type that torch has not.
    """

    def __init__(self, path: Path) -> None:
        try:
            opened: Any = safe_open(path, framework="pt", device="cpu")
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
            self.metadata: Mapping[str, str] = dict(opened.metadata() or {})
        except (SafetensorError, OSError) as error:
            msg = f"{path}: not a whole safetensors file ({error}). Fetch it again."
            raise PlanError(msg) from error
        self.shapes: Mapping[str, tuple[int, ...]] = {k: tuple(s.get_shape()) for k, s in slices.items()}
        self.dtypes: Mapping[str, torch.dtype] = {k: _dtype(s.get_dtype(), k, path) for k, s in slices.items()}
        self.skipped: tuple[Unused, ...] = ()
        self._open = opened

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        tensor: Tensor = self._open.get_tensor(name)
        return tensor


class JoinedTensors:
    """Tensors that lie in several places: by place, the names that are taken from it.

    Raises:
        PlanError: two places have a tensor of one name.
    """

    def __init__(self, parts: Mapping[str, TensorFile], where: str) -> None:
        self._home: dict[str, TensorFile] = {}
        for part, tensors in parts.items():
            twice = next((name for name in tensors.shapes if name in self._home), None)
            if twice is not None:
                msg = f"{where}: tensor {twice} lies in {part} and in another part too. Fetch the files again."
                raise PlanError(msg)
            self._home.update(dict.fromkeys(tensors.shapes, tensors))
        self.shapes: Mapping[str, tuple[int, ...]] = {name: part.shapes[name] for name, part in self._home.items()}
        self.dtypes: Mapping[str, torch.dtype] = {name: part.dtypes[name] for name, part in self._home.items()}
        self.skipped = tuple(each for part in parts.values() for each in part.skipped)

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        return self._home[name].read(name)


def _dtype(name: str, key: str, path: Path) -> torch.dtype:
    if name not in _DTYPES:
        msg = f"{path}: tensor {key} has type {name}, which is not known. Known: {', '.join(_DTYPES)}."
        raise PlanError(msg)
    return _DTYPES[name]
