"""Arrays: numpy's pickled arrays, types and numbers as `Stored` tensors, without numpy's own unpickling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from allograft.weights.reading.inert import Foreign
from allograft.weights.reading.stored import Storage, Stored

__all__ = ["Array", "array", "dtype_of", "from_numpy", "frombuffer", "raw", "scalar", "text"]

_NUMPY = {
    "f8": torch.float64,
    "f4": torch.float32,
    "f2": torch.float16,
    "i8": torch.int64,
    "i4": torch.int32,
    "i2": torch.int16,
    "i1": torch.int8,
    "u1": torch.uint8,
    "b1": torch.bool,
    "c8": torch.complex64,
    "c16": torch.complex128,
}


class _DType:
    """A numpy type that is being built: its code and its byte order."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code.lstrip("<>|="), ">" if code.startswith(">") else "<"

    def build(self, state: Any) -> None:
        """Take the byte order; fields and sub-arrays make it a type that is not known."""
        if isinstance(state, tuple) and len(state) >= 5:
            self.order = ">" if text(state[1]) == ">" else "<"
            if any(part not in (None, ()) for part in state[2:5]):
                self.code = "fields"


class Array(Stored):
    """A numpy array that is being built; without a known type it stays unfinished and is no tensor."""

    def __init__(self) -> None:
        super().__init__(Storage(torch.uint8, 0), torch.uint8, (0,), (1,))
        self.known = False

    def build(self, state: Any) -> None:
        """Fill in (version, shape, dtype, whether Fortran's order, bytes)."""
        *_, shape, dtype, fortran, data = state
        if isinstance(dtype, _DType) and dtype.code in _NUMPY and isinstance(data, bytes | bytearray | str):
            self._fill(shape, dtype, fortran=bool(fortran), data=raw(data))

    def _fill(self, shape: Any, dtype: _DType, *, fortran: bool, data: bytes | bytearray) -> None:
        kind = _NUMPY[dtype.code]
        if dtype.order == ">":
            data = np.frombuffer(data, dtype=f">{dtype.code}").astype(f"<{dtype.code}").tobytes()
        sizes = tuple(shape)
        if len(data) % kind.itemsize:
            raise ValueError("an array's bytes are no whole numbers")
        numel = len(data) // kind.itemsize
        whole = memoryview(data)
        self.storage = Storage(kind, numel, lambda: whole)
        self.dtype, self.shape, self.offset = kind, sizes, 0
        self.stride = _strides(sizes[::-1])[::-1] if fortran else _strides(sizes)
        self.__post_init__()
        self.known = True


def _strides(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the strides of C's order."""
    steps, step = [], 1
    for size in reversed(sizes):
        steps.append(step)
        if type(size) is not int or not 0 <= size < 2**56:
            raise ValueError("an array's size is no number")
        step = min(step * max(size, 1), 2**62)
    return tuple(reversed(steps))


def from_numpy(args: tuple[Any, ...]) -> Any:
    """An array on another device, or jax's: how it is rebuilt, its arguments and its state."""
    if isinstance(args[0], Stored):
        return args[0]
    made = Array()
    made.build(args[2])
    return made


def array(_: tuple[Any, ...]) -> Array:
    """Return an array to be filled by BUILD."""
    return Array()


def frombuffer(args: tuple[Any, ...]) -> Array:
    """Return the array of (bytes, type, shape, order): how protocol 5 keeps one."""
    data, dtype, shape, order = args
    made = Array()
    made.build((shape, dtype, text(order) == "F", data))
    return made


def scalar(args: tuple[Any, ...]) -> Any:
    """Return the number of (type, bytes)."""
    dtype, data = args
    if not isinstance(dtype, _DType) or dtype.code not in _NUMPY:
        return Foreign("numpy scalar")
    return np.frombuffer(raw(data), dtype=f"{dtype.order}{dtype.code}", count=1)[0].item()


def dtype_of(args: tuple[Any, ...]) -> Any:
    """Return the type of a code such as "f4"."""
    return _DType(text(args[0]))


def text(value: Any) -> str:
    """Return text, also of bytes as Python 2 wrote it."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise TypeError("text is expected")
    return value


def raw(value: Any) -> bytes | bytearray:
    """Return bytes, also of text that stands for them."""
    return value.encode("latin-1") if isinstance(value, str) else value
