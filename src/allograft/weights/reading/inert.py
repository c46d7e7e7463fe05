"""Inert: what a pickle names and would make, kept as data; nothing here can be called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from allograft.core.errors import PlanError

__all__ = ["Foreign", "Name", "Refused", "UnsafeFile"]


class UnsafeFile(PlanError):  # noqa: N818 - named for what it is about
    """A file asks for what no file of weights needs: to run code, to unfold to many times its size, to leave itself."""


class Refused(Exception):  # noqa: N818 - a verdict on a file, turned into a PlanError by who knows the path
    """A pickle asks for what is never done; says what."""


class Name(NamedTuple):
    """A global that a pickle names; only its name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Foreign:
    """What a pickle would have made with a global that has no builder: nothing but what it was told.

    Args:
        name: the global, or what stood in its place.
        args: arguments of the call.
        state: what BUILD set.
        items: what was appended or set by key.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)

    def attributes(self) -> dict[Any, Any]:
        """Return what it holds by name: its fields, its state, its items, or the lone mapping that it wraps."""
        states = self.state if isinstance(self.state, tuple) else (self.state,)
        found = {key: value for each in states if isinstance(each, dict) for key, value in each.items()}
        found.update(self.items)
        wrapped = [value for value in (*self.args, *found.values()) if isinstance(value, dict)]
        if len(wrapped) == 1 and len(found) <= 1:
            return dict(wrapped[0])
        return found or dict(enumerate(self.args))
