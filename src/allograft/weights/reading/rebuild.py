"""Builders: the few globals of a checkpoint's pickle that stand for something, each by a function of ours.

Tensors and arrays become `Stored`, containers become dict, list and tuple, devices and types become text and
torch's own types. Nothing here imports or calls what a file names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from allograft.weights.reading.arrays import array, dtype_of, from_numpy, frombuffer, raw, scalar, text
from allograft.weights.reading.inert import Foreign, Name
from allograft.weights.reading.stored import Storage, Stored

__all__ = ["KNOWN", "TORCHSCRIPT", "storage_of"]

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
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": None,
}

_DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "complex128"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"),
)


class StorageType:
    """A storage class that a file names: the type of its numbers, None for bytes."""

    def __init__(self, dtype: torch.dtype | None) -> None:
        self.dtype = dtype


def storage_of(kind: Any, numel: Any) -> Storage:
    """Return an empty storage of a named type.

    Raises:
        ValueError: no storage type, or no number of numbers.
    """
    if not isinstance(kind, StorageType) or type(numel) is not int or not 0 <= numel < 2**56:
        raise ValueError("a persistent id describes no storage")
    return Storage(kind.dtype, numel)


def _tensor(args: tuple[Any, ...]) -> Stored:
    storage, offset, size, stride, *_ = args
    if not isinstance(storage, Storage) or storage.dtype is None:
        raise TypeError("a tensor has no storage")
    return Stored(storage, storage.dtype, tuple(size), tuple(stride), offset)


def _typed_tensor(args: tuple[Any, ...]) -> Stored:
    storage, offset, size, stride, _, _, dtype, *_ = args
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise TypeError("a tensor has no storage or no type")
    return Stored(storage, dtype, tuple(size), tuple(stride), offset)


def _first(args: tuple[Any, ...]) -> Any:
    """A parameter, or another shell around one value."""
    return args[0]


def _of_type(args: tuple[Any, ...]) -> Any:
    """A subclass of tensor: how it is rebuilt, its class, and the arguments."""
    function, _, inner, *_ = args
    builder = KNOWN.get(function) if isinstance(function, Name) else None
    return builder(tuple(inner)) if callable(builder) else Foreign("tensor subclass", tuple(inner))


def _encode(args: tuple[Any, ...]) -> bytes:
    """Text that stands for bytes: how Python 2's protocol carries them."""
    return text(args[0]).encode("latin-1")


def _mapping(args: tuple[Any, ...]) -> dict[Any, Any]:
    """An OrderedDict or a defaultdict: their factory is never kept."""
    pairs = next((arg for arg in args if isinstance(arg, dict | list | tuple)), ())
    if isinstance(pairs, dict):
        return pairs
    return {key: value for key, value in pairs if not isinstance(key, tuple | list | dict)}


def _sequence(args: tuple[Any, ...]) -> Any:
    """The list or tuple that is already there; a set is a list here."""
    return args[0] if args and isinstance(args[0], list | tuple) else []


def _bytearray(args: tuple[Any, ...]) -> bytes | bytearray:
    """Bytes; bytearray(10**12) would be a bomb and is none."""
    return raw(args[0]) if args and isinstance(args[0], bytes | bytearray | str) else b""


def _path(args: tuple[Any, ...]) -> str:
    return "/".join(arg for arg in args if isinstance(arg, str))


def _device(args: tuple[Any, ...]) -> str:
    return ":".join(str(arg) for arg in args if isinstance(arg, str | int))


def _record(*fields: str) -> Callable[[tuple[Any, ...]], Foreign]:
    """A named tuple whose fields are known although its class is not at hand."""
    return lambda args: Foreign("record", state=dict(zip(fields, args, strict=False)))


def _named_tuple(args: tuple[Any, ...]) -> Foreign:
    """A wish of dill for a new named tuple: its name and its fields."""
    fields = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return Foreign(text(args[0]), items={"fields": tuple(map(text, fields))})


_TENSORS: dict[Name, Any] = {
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    **{Name("torch", name): StorageType(dtype) for name, dtype in _STORAGES.items()},
}

TORCHSCRIPT: Mapping[Name, Any] = {
    **_TENSORS,
    Name("collections", "OrderedDict"): _mapping,
    **{
        Name("torch.jit._pickle", f"build_{kind}list"): _first
        for kind in ("int", "tensor", "double", "bool", "string", "complex")
    },
}
"""What an archive of modules needs."""

KNOWN: Mapping[Name, Any] = {
    **_TENSORS,
    **{Name("torch.cuda", name): StorageType(dtype) for name, dtype in _STORAGES.items()},
    **{Name("torch.storage", name): StorageType(dtype) for name, dtype in _STORAGES.items()},
    **{Name("torch", name): getattr(torch, name) for name in _DTYPES},
    Name("torch._utils", "_rebuild_tensor"): _tensor,
    Name("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    Name("torch._utils", "_rebuild_parameter"): _first,
    Name("torch._utils", "_rebuild_parameter_with_state"): _first,
    Name("torch._utils", "_rebuild_device_tensor_from_numpy"): from_numpy,
    Name("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    Name("torch.nn.parameter", "Parameter"): _first,
    Name("torch", "Size"): _sequence,
    Name("torch", "device"): _device,
    **{Name(f"numpy.{core}.multiarray", "_reconstruct"): array for core in ("core", "_core")},
    **{Name(f"numpy.{core}.multiarray", "scalar"): scalar for core in ("core", "_core")},
    **{Name(f"numpy.{core}.numeric", "_frombuffer"): frombuffer for core in ("core", "_core")},
    Name("numpy", "ndarray"): array,
    Name("numpy", "dtype"): dtype_of,
    **{Name(f"jax._src.{home}", name): from_numpy for home, name in (("array", "_reconstruct_array"),)},
    Name("jax._src.device_array", "reconstruct_device_array"): from_numpy,
    Name("jax.interpreters.xla", "reconstruct_device_array"): from_numpy,
    Name("_codecs", "encode"): _encode,
    Name("collections", "OrderedDict"): _mapping,
    Name("collections", "defaultdict"): _mapping,
    Name("collections", "Counter"): _mapping,
    **{
        Name(home, name): builder
        for home in ("builtins", "__builtin__")
        for name, builder in {
            "set": _sequence,
            "frozenset": _sequence,
            "list": _sequence,
            "tuple": _sequence,
            "dict": _mapping,
            "bytearray": _bytearray,
            "bytes": _bytearray,
        }.items()
    },
    **{
        Name(home, name): _path
        for home in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "WindowsPath", "Path", "PurePosixPath", "PureWindowsPath")
    },
    Name("byol.byol_experiment", "_ByolExperimentState"): _record(
        "online_params", "target_params", "online_state", "target_state", "opt_state"
    ),
    Name("dill._dill", "_create_namedtuple"): _named_tuple,
}
"""What a checkpoint of tensors or arrays may need."""
