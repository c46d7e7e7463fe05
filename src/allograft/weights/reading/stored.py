"""Stored arrays: tensors of an opened file, described by its pickle and read only when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Storage", "Stored"]

_MAX_AXES = 32


@dataclass(eq=False, slots=True)
class Storage:
    """Numbers in a row, as torch keeps them; tensors are views of it.

    Args:
        dtype: their type, None where only bytes are known.
        numel: how many the pickle says there are.
        bytes: returns exactly their bytes, None until the place is known (legacy files write numbers last).
        offset: place of the first number inside what `bytes` returns, in bytes.
    """

    dtype: torch.dtype | None
    numel: int
    bytes: Callable[[], memoryview] | None = None
    offset: int = 0

    def flat(self, dtype: torch.dtype) -> Tensor:
        """Return the numbers as a flat tensor that shares the file's memory where its alignment allows.

        Raises:
            ValueError: the file holds fewer bytes than the pickle says, or none.
        """
        kind = self.dtype or dtype
        if self.bytes is None:
            raise ValueError("a storage has no numbers in the file")
        data, size = self.bytes(), self.numel * kind.itemsize
        if self.offset < 0 or self.offset + size > len(data):
            msg = f"a storage has {len(data)} bytes, expected {self.numel} numbers of {kind}"
            raise ValueError(msg)
        if not size:
            return torch.empty(0, dtype=dtype)
        part = data[self.offset : self.offset + size]
        whole = torch.frombuffer(bytearray(part) if part.readonly else part, dtype=torch.uint8)
        if whole.data_ptr() % dtype.itemsize:
            whole = whole.clone()
        return whole.view(dtype)


@dataclass(eq=False)
class Stored:
    """One tensor of a file: known by type and shape, read by `load`.

    Raises:
        ValueError: sizes or strides are negative, or the tensor does not lie inside its storage.
    """

    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0

    def __post_init__(self) -> None:
        if not _are_sizes((self.offset, *self.shape, *self.stride)) or len(self.shape) > _MAX_AXES:
            raise ValueError("a tensor's size or strides are no numbers, or there are too many of them")
        if len(self.shape) != len(self.stride) or min((self.offset, *self.shape, *self.stride)) < 0:
            msg = f"a tensor of size {self.shape} has strides {self.stride} from {self.offset}"
            raise ValueError(msg)
        kind, numel = self.storage.dtype or torch.uint8, self.storage.numel
        room = numel * kind.itemsize // self.dtype.itemsize
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        numbers: int = math.prod(list[int](self.shape))
        if numbers > room or (numbers and last >= room):
            msg = f"a tensor of size {self.shape} lies in a storage of {room} numbers"
            raise ValueError(msg)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor when it is whole."""
        return math.prod(self.shape) * self.dtype.itemsize

    def load(self) -> Tensor:
        """Return the tensor; nothing is copied where the file's alignment allows.

        Raises:
            ValueError: the file does not hold its numbers.
        """
        return self.storage.flat(self.dtype).as_strided(self.shape, self.stride, self.offset)


def _are_sizes(values: tuple[object, ...]) -> bool:
    """Tell whether all are whole numbers that fit into 63 bits; nothing else of them may be shown or reckoned with."""
    return all(type(value) is int and abs(value) < 2**63 for value in values)
