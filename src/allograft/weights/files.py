"""Tensor files: safetensors, PyTorch checkpoints and TorchScript, opened without running anything they hold."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from allograft.core.errors import PlanError
from allograft.weights.plan import Unused
from allograft.weights.torchscript import is_torchscript, read_torchscript

__all__ = ["MemoryTensors", "SafetensorsFile", "TensorFile", "open_tensors"]

_CONTAINERS = ("state_dict", "model", "resnet", "network_weights", "model_state_dict", "state_dict_ema")
_MAX_INFLATION = 2.0

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


class SafetensorsFile:
    """A safetensors file; only its header is read until a tensor is asked for.

    Raises:
        PlanError: the file is truncated, or holds a type that torch has not.
    """

    def __init__(self, path: Path) -> None:
        try:
            opened: Any = safe_open(path, framework="pt", device="cpu")
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
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


def open_tensors(path: Path, container: str = "") -> TensorFile:
    """Open a file by its content, whatever its ending says.

    Args:
        path: a safetensors file, a PyTorch checkpoint (zip or legacy) or a TorchScript archive.
        container: dotted path to the tensors in a nested checkpoint, "" for the top.

    Raises:
        PlanError: not readable, truncated, of another format, unsafe, or without tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}). Check the path."
        raise PlanError(msg) from error
    if len(head) == 9 and head[8:9] == b"{":
        if container:
            msg = f'{path}: a safetensors file is flat, the card names container "{container}". Empty that field.'
            raise PlanError(msg)
        return SafetensorsFile(path)
    return _from_container(_load(path, head), container, path)


def _load(path: Path, head: bytes) -> object:
    """Load a PyTorch checkpoint with its restricted reader, the data mapped where possible."""
    zipped = head[:2] == b"PK"
    if zipped:
        _check_zip(path)
        if is_torchscript(path):
            return read_torchscript(path)
    try:
        return _torch_load(path, mapped=zipped and path.suffix != ".safetensors")
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):
            msg = f"{path}: neither safetensors nor a whole PyTorch checkpoint. Fetch it again."
            raise PlanError(msg) from error
        msg = (
            f"{path}: refused, because it holds more than tensors and opening it could run code: "
            f"{_first_line(error)} Ask its authors for a safetensors file, or save its state dict alone."
        )
        raise PlanError(msg) from error
    except Exception as error:  # torch.load raises whatever broken bytes lead it to
        msg = f"{path}: not a whole PyTorch checkpoint ({_first_line(error)}). Fetch it again."
        raise PlanError(msg) from error


def _torch_load(path: Path, *, mapped: bool) -> object:
    """Read tensors and plain containers only; torch judges some files by their ending, so it sees none."""
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # on pickle protocols; what cannot be read raises anyway
        return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)


def _check_zip(path: Path) -> None:
    """Refuse archives that are cut off or that unpack to far more than they hold."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
    except zipfile.BadZipFile as error:
        msg = f"{path}: the archive is cut off or damaged ({error}). Fetch it again."
        raise PlanError(msg) from error
    size = path.stat().st_size
    if unpacked > _MAX_INFLATION * size + 2**20:
        msg = f"{path}: {size} bytes would unpack to {unpacked}; checkpoints are not compressed. Refused."
        raise PlanError(msg)


def _from_container(loaded: object, container: str, path: Path) -> MemoryTensors:
    """Walk to the named container and keep its tensors."""
    here: Any = loaded
    for part in container.split(".") if container else ():
        if not isinstance(here, Mapping) or part not in here:
            holds = ", ".join(map(str, list(here)[:8])) if isinstance(here, Mapping) else type(here).__name__
            msg = f'{path}: the card\'s container "{container}" is not in the file; it holds: {holds}.'
            raise PlanError(msg)
        here = here[part]
    if not isinstance(here, Mapping):
        msg = f"{path}: expected named tensors, got {type(here).__name__}."
        raise PlanError(msg)
    tensors = {str(name): value for name, value in here.items() if isinstance(value, Tensor)}
    if not tensors:
        raise PlanError(f"{path}: no tensors at {container or 'the top'}. {_container_hint(here)}")
    skipped = tuple(
        Unused(source=str(name), shape=(), why=f"not a tensor ({type(value).__name__})")
        for name, value in here.items()
        if not isinstance(value, Tensor)
    )
    return MemoryTensors(tensors, skipped)


def _container_hint(here: Mapping[Any, Any]) -> str:
    """Say under which key the tensors lie."""
    inside = [name for name, value in here.items() if isinstance(value, Mapping)]
    named = [name for name in _CONTAINERS if name in inside] or [str(name) for name in inside]
    if not named:
        return "It is not a checkpoint of weights."
    return f'They seem to lie under "{named[0]}": write container: {named[0]} in the card.'


def _dtype(name: str, key: str, path: Path) -> torch.dtype:
    if name not in _DTYPES:
        msg = f"{path}: tensor {key} has type {name}, which is not known. Known: {', '.join(_DTYPES)}."
        raise PlanError(msg)
    return _DTYPES[name]


def _first_line(error: Exception) -> str:
    """Return what an error says, in one line without advice that is not ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    refused = [line for line in lines if "GLOBAL" in line or "Unsupported" in line or "global" in line]
    text = (refused or lines or [type(error).__name__])[0]
    return text if len(text) <= 240 else text[:237] + "..."
