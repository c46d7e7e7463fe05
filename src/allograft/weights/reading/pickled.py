"""Pickles as data: a machine of its own that builds plain values and calls nothing that a file names.

Python's unpickler finds a global by importing its module and runs it. This one never imports: a global is
a name (`Name`), and what a file would call or make with it is kept as an inert `Foreign` that remembers
name, arguments and state, unless the name is one of the few in `known` that have a builder of ours.
Everything else that a hostile pickle can do (huge numbers, endless memo, deep keys) is bounded.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple, cast

from allograft.weights.reading.inert import Name, Refused
from allograft.weights.reading.pickle_machine import STEPS, Machine

__all__ = ["Pickled", "read_pickle"]

MAX_OPS = 8_000_000
"""Most opcodes of one pickle; a checkpoint of 10 000 tensors has about 300 000."""

_MAX_LINE, _SPARE = 2**16, 2**26


class Pickled(NamedTuple):
    """A pickle, read: its value, and the globals in it that have no builder, in order."""

    value: Any
    refused: tuple[str, ...]


def read_pickle(
    data: BinaryIO,
    *,
    known: Mapping[Name, Any],
    size: int,
    persistent: Callable[[Any], Any] | None = None,
    strict: Callable[[Name], bool] | None = None,
) -> Pickled:
    """Read one pickle from where `data` stands; the stream is left right behind it.

    Args:
        data: a seekable stream.
        known: by global: a function of the arguments' tuple that builds its value, or a value.
        size: bytes from the beginning of the stream to its end; nothing longer is allotted.
        persistent: what a persistent id stands for; without it they become inert.
        strict: given a global without builder, whether it may stay as an inert name; without it every one may.

    Raises:
        Refused: more opcodes, memo or text than any checkpoint needs, or a global that `strict` refuses.
        ValueError, IndexError, KeyError, TypeError: broken bytes.
    """
    machine = Machine(known, persistent, strict, room=4 * size + _SPARE)
    bounded = _Bounded(data, size)
    for _ in range(MAX_OPS):
        code = data.read(1)
        if code not in _DECODE:
            raise ValueError(f"unknown opcode {code!r}" if code else "it ends before its end")
        do, argument = _DECODE[code]
        do(machine, None if argument is None else argument(cast("BinaryIO", bounded)))
        if code == b".":
            return Pickled(machine.value, tuple(machine.refused))
    raise Refused(f"it has more than {MAX_OPS} steps")


class _Bounded:
    """A stream that never allots more than the file holds."""

    __slots__ = ("_data", "_size")

    def __init__(self, data: BinaryIO, size: int) -> None:
        self._data, self._size = data, size

    def read(self, count: int) -> bytes:
        if count > _MAX_LINE and count > self._size - self._data.tell():
            raise ValueError(f"{count} bytes are announced and fewer are there")
        return self._data.read(count)

    def readline(self) -> bytes:
        return self._data.readline(_MAX_LINE)


def _unusual(name: str) -> Callable[[Machine, Any], None]:
    return lambda machine, argument: machine.unusual(name, argument)


_DECODE = {
    opcode.code.encode("latin-1"): (
        STEPS.get(opcode.name) or _unusual(opcode.name),
        opcode.arg.reader if opcode.arg else None,
    )
    for opcode in pickletools.opcodes
}
"""By byte: what is done, and what reads its argument."""
