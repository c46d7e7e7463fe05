"""The machine that pickles are read with: a stack, a memo, and one step for each opcode; it calls no global."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from allograft.weights.reading.inert import Foreign, Name, Refused

__all__ = ["STEPS", "Machine"]

MAX_MEMO = 2**20
_MARK = object()


class Machine:
    """The stack, the memo, and one method for each kind of opcode."""

    def __init__(
        self,
        known: Mapping[Name, Any],
        persistent: Callable[[Any], Any] | None,
        strict: Callable[[Name], bool] | None,
        *,
        room: int,
    ) -> None:
        self._room = room
        self._known, self._persistent, self._strict = known, persistent, strict
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.refused: dict[str, None] = {}
        self.value: Any = None

    def put(self, place: int | None) -> None:
        """Remember the top of the stack."""
        place = len(self._memo) if place is None else place
        if not 0 <= place <= MAX_MEMO:
            raise Refused(f"it asks for {place} places of memory")
        self._memo[place] = self._stack[-1]

    def get(self, place: int) -> None:
        """Push what was remembered."""
        self._stack.append(self._memo[place])

    def unusual(self, name: str, argument: Any) -> None:
        """Opcodes that checkpoints do not write: extension codes become inert, buffers from outside are refused."""
        if not name.startswith("EXT"):
            raise Refused(f"it uses {name}, which checkpoints do not")
        self._stack.append(self._global(Name(name, str(argument)), name))

    def _marked(self) -> list[Any]:
        """Take what lies above the last mark."""
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                above = self._stack[place + 1 :]
                del self._stack[place:]
                return above
        raise ValueError("a mark is missing")

    def _global(self, name: Name, opcode: str) -> Any:
        """Return what stands for a global: a builder's name, a value of ours, or an inert name."""
        if name in self._known:
            value = self._known[name]
            return name if callable(value) else value
        if self._strict is not None:
            if not self._strict(name):
                raise Refused(f"it holds {name} ({opcode})")
        else:
            self.refused[str(name)] = None
        return name

    def _make(self, what: Any, args: Any) -> Any:
        """Build a known value; else keep the wish, inert."""
        args = tuple(args) if isinstance(args, tuple | list) else (args,)
        if isinstance(what, Name) and what in self._known:
            self._charge(args)
            return self._known[what](args)
        fields = what.items.get("fields") if isinstance(what, Foreign) else None
        if isinstance(fields, tuple) and len(fields) == len(args):
            return Foreign(what.name, state=dict(zip(fields, args, strict=True)))
        return Foreign(_label(what), args)

    def _charge(self, args: tuple[Any, ...]) -> None:
        """Count what a builder may copy: one long value that is met again and again would fill the memory."""
        self._room -= sum(len(arg) for arg in args if isinstance(arg, str | bytes | bytearray | list | tuple | dict))
        if self._room < 0:
            raise Refused("it would unfold to many times its size")

    def global_(self, argument: str) -> None:
        """Push what stands for a global."""
        module, _, name = argument.partition(" ")
        self._stack.append(self._global(Name(module, name), "GLOBAL"))

    def stack_global(self, _: Any) -> None:
        """Push what stands for a global whose names are on the stack."""
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a global has no name")
        self._stack.append(self._global(Name(module, name), "STACK_GLOBAL"))

    def inst(self, argument: str) -> None:
        """Make from a global and what is marked (protocol 0)."""
        module, _, name = argument.partition(" ")
        args = tuple(self._marked())
        self._stack.append(self._make(self._global(Name(module, name), "INST"), args))

    def obj(self, _: Any) -> None:
        """Make from what is marked, the global first."""
        what, *args = self._marked()
        self._stack.append(self._make(what, tuple(args)))

    def call(self, _: Any) -> None:
        """Make from a global and its arguments: REDUCE and NEWOBJ."""
        args, what = self._stack.pop(), self._stack.pop()
        self._stack.append(self._make(what, args))

    def newobj_ex(self, _: Any) -> None:
        """Keep a wish with arguments by name, inert."""
        words, args, what = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._stack.append(Foreign(_label(what), tuple(args), state=words))

    def build(self, _: Any) -> None:
        """Give a state to what was made; only values of ours take one."""
        state, made = self._stack.pop(), self._stack[-1]
        if hasattr(type(made), "build"):
            self._charge(state if isinstance(state, tuple) else (state,))
            made.build(state)
        elif isinstance(made, Foreign):
            made.state = state

    def persid(self, argument: Any) -> None:
        """Push what a persistent id of text stands for."""
        self._stack.append(self._refer(argument))

    def binpersid(self, _: Any) -> None:
        """Push what a persistent id on the stack stands for."""
        self._stack.append(self._refer(self._stack.pop()))

    def _refer(self, pid: Any) -> Any:
        return Foreign("persistent id", (pid,)) if self._persistent is None else self._persistent(pid)

    def setitem(self, _: Any) -> None:
        """Set one item."""
        value, key = self._stack.pop(), self._stack.pop()
        self._set(self._stack[-1], [key, value])

    def setitems(self, _: Any) -> None:
        """Set what is marked."""
        pairs = self._marked()
        self._set(self._stack[-1], pairs)

    def _set(self, made: Any, pairs: list[Any]) -> None:
        into = made.items if isinstance(made, Foreign) else made
        if not isinstance(into, dict):
            raise TypeError("items are set on what has none")
        into.update(zip(map(_key, pairs[::2]), pairs[1::2], strict=True))

    def append(self, _: Any) -> None:
        """Append one value."""
        value = self._stack.pop()
        self._extend(self._stack[-1], [value])

    def appends(self, _: Any) -> None:
        """Append what is marked."""
        values = self._marked()
        self._extend(self._stack[-1], values)

    def _extend(self, made: Any, values: list[Any]) -> None:
        if isinstance(made, Foreign):
            made.items.update(enumerate(values, len(made.items)))
        elif isinstance(made, list):
            made.extend(values)
        else:
            raise TypeError("values are appended to what takes none")

    def collect(self, make: Callable[[list[Any]], Any]) -> None:
        """Push one value of what is marked."""
        self._stack.append(make(self._marked()))

    def tuple_of(self, count: int) -> None:
        """Push a tuple of the last values."""
        if len(self._stack) < count:
            raise ValueError("the stack is too short")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def push(self, value: Any) -> None:
        """Push a value."""
        self._stack.append(value)

    def pop(self, _: Any) -> None:
        """Drop the top."""
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        """Drop what is marked."""
        self._marked()

    def dup(self, _: Any) -> None:
        """Push the top again."""
        self._stack.append(self._stack[-1])

    def stop(self, _: Any) -> None:
        """Keep the value of the pickle."""
        self.value = self._stack.pop()


def _key(key: Any) -> Any:
    """Return a key that can be hashed at once: hashing a tuple of tuples of tuples would overflow C's stack."""
    if isinstance(key, tuple) and not all(isinstance(part, _PLAIN) for part in key):
        return Foreign("a nested key")
    return key


def _label(what: Any) -> str:
    if isinstance(what, Name):
        return str(what)
    return what.name if isinstance(what, Foreign) else type(what).__name__


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(_key, values[::2]), values[1::2], strict=True))


_PLAIN = (str, int, float, bytes, type(None))

_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)

STEPS: Mapping[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_SET": lambda machine, _: machine.push([]),
    "MARK": lambda machine, _: machine.push(_MARK),
    "POP": Machine.pop,
    "POP_MARK": Machine.pop_mark,
    "DUP": Machine.dup,
    "DICT": lambda machine, _: machine.collect(_pairs),
    "LIST": lambda machine, _: machine.collect(list),
    "TUPLE": lambda machine, _: machine.collect(tuple),
    "FROZENSET": lambda machine, _: machine.collect(list),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": Machine.append,
    "APPENDS": Machine.appends,
    "ADDITEMS": Machine.appends,
    "SETITEM": Machine.setitem,
    "SETITEMS": Machine.setitems,
    "GLOBAL": Machine.global_,
    "STACK_GLOBAL": Machine.stack_global,
    "INST": Machine.inst,
    "OBJ": Machine.obj,
    "NEWOBJ": Machine.call,
    "NEWOBJ_EX": Machine.newobj_ex,
    "REDUCE": Machine.call,
    "BUILD": Machine.build,
    "PERSID": Machine.persid,
    "BINPERSID": Machine.binpersid,
    "STOP": Machine.stop,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.get),
    **dict.fromkeys(_VALUES, Machine.push),
}
"""By opcode: what is done with its argument."""
