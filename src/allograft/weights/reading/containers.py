"""Containers: every place in an opened checkpoint where named tensors lie, the best first.

The rule, in this order:

1. Tensors below a name of an optimizer, a learning-rate schedule, a loss scaler, a queue, a callback or a
   random state are no weights and are no place.
2. Weights as trained come before averaged ones (names with ema, swa, avg, teacher, target, momentum, shadow):
   what a file calls averaged is listed, and never taken silently.
3. Then the names that the field uses, in the order of `FIRST`; then more numbers; then the shorter path.

Nested tables of haiku ({module: {parameter: array}}) are one place with names "module/parameter"; its
parameters and its running statistics, which lie side by side as X_params and X_state, are also one place X.
A network that was pickled whole is the place of its parameters and buffers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from allograft.weights.plan import Unused
from allograft.weights.reading.arrays import Array
from allograft.weights.reading.inert import Foreign, Name
from allograft.weights.reading.stored import Stored

__all__ = ["FIRST", "Place", "averaged", "places", "plain_facts"]

FIRST = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network_weights",
    "network",
    "resnet",
    "online",
    "module",
    "encoder",
    "backbone",
    "student",
    "params",
)
"""Names under which the field keeps weights, the most telling first."""

_NO_WEIGHTS = re.compile(
    r"opt|opt_.*|.*optim.*|.*sched.*|.*scaler.*|queue.*|callbacks|loops|.*rng.*|amp|apex|logging|loggers?", re.I
)
_AVERAGED = re.compile(
    r"(^|[._])(ema|swa|averaged?|avg|teacher|target|momentum|shadow)([._]|\d|$)|(^|_)ema|ema($|_)", re.I
)
_MAX_NODES, _MAX_DEPTH, _MAX_ITEMS, _MAX_TEXT = 300_000, 12, 256, 20_000


@dataclass(frozen=True)
class Place:
    """One place: its dotted path ("" for the top), its tensors, and what in it was no tensor."""

    path: str
    tensors: Mapping[str, Stored]
    skipped: tuple[Unused, ...] = ()

    @property
    def numbers(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(each.shape) for each in self.tensors.values())


def averaged(path: str) -> bool:
    """Tell whether a file calls what lies at a path averaged.

    >>> averaged("state_dict_ema"), averaged("model"), averaged("target_params")
    (True, False, True)
    """
    return any(_AVERAGED.search(part) for part in path.split("."))


def places(root: Any) -> tuple[Place, ...]:
    """Return every place of a tree, the best first."""
    found = {place.path: place for place in _walk(root)}
    found.update({place.path: place for place in _haiku_pairs(found) if place.path not in found})
    whole = [place for place in found.values() if any(each.shape for each in place.tensors.values())]
    return tuple(sorted(whole or found.values(), key=_rank))


def plain_facts(root: Any, found: tuple[Place, ...]) -> dict[str, Any]:
    """Return what a tree says beside its tensors as plain values: text, numbers, lists and dictionaries.

    Long lists are told by their length; inert objects by what they hold; tensors and optimizers are left out.
    """
    taken = [place.path for place in found]
    budget = [20_000]
    facts = {}
    for key, value in _children(root):
        inside = any(path == key or path.startswith(f"{key}.") for path in taken)
        if isinstance(value, Stored) or _NO_WEIGHTS.fullmatch(key):
            continue
        if not inside:
            facts[key] = _plain(value, budget)
        elif isinstance(value, dict | Foreign) and key not in taken:
            facts[key] = plain_facts(value, _below(found, key))
    return {key: value for key, value in facts.items() if value != {}}


def _below(found: tuple[Place, ...], key: str) -> tuple[Place, ...]:
    parts = [place for place in found if place.path.startswith(f"{key}.")]
    return tuple(Place(place.path.removeprefix(f"{key}."), place.tensors) for place in parts)


def _rank(place: Place) -> tuple[bool, int, int, int, str]:
    last = place.path.rpartition(".")[2]
    known = FIRST.index(last) if last in FIRST else len(FIRST)
    return averaged(place.path), known, -place.numbers, place.path.count("."), place.path


def _walk(root: Any) -> Iterator[Place]:
    """Visit every container once, from the outside in."""
    waiting: list[tuple[str, Any, int]] = [("", root, 0)]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_NODES:
        path, here, depth = waiting.pop(0)
        if id(here) in seen or depth > _MAX_DEPTH:
            continue
        seen.add(id(here))
        place, inner = _place(path, here)
        if place is not None:
            yield place
        for key, value in inner:
            if not _NO_WEIGHTS.fullmatch(key):
                waiting.append((f"{path}.{key}" if path else key, value, depth + 1))


def _place(path: str, here: Any) -> tuple[Place | None, list[tuple[str, Any]]]:
    """Return the place that a container is, None for none, and what lies below it."""
    if _is_module(here):
        return Place(path, dict(_module(here))), []
    children = _children(here)
    tables = [(key, value) for key, value in children if _is_table(value)]
    if tables and _is_haiku(tables):
        flat = {f"{key}/{name}": each for key, value in tables for name, each in _children(value) if _whole(each)}
        return Place(path, flat), [pair for pair in children if pair not in tables]
    tensors = {key: value for key, value in children if _whole(value)}
    inner = [(key, value) for key, value in children if _holds(value)]
    if not tensors:
        return None, inner
    rest = [(key, value) for key, value in children if key not in tensors]
    skipped = tuple(Unused(source=key[:200], shape=(), why=f"not a tensor ({_kind(value)})") for key, value in rest)
    return Place(path, tensors, skipped), inner


def _children(here: Any) -> list[tuple[str, Any]]:
    """Return what a container holds, by name; nothing for plain values and long lists."""
    if isinstance(here, Foreign):
        here = here.attributes()
    if isinstance(here, dict):
        return [(str(key) if isinstance(key, str | int | float) else _kind(key), value) for key, value in here.items()]
    if isinstance(here, list | tuple) and not isinstance(here, Name) and len(here) <= _MAX_ITEMS:
        return [(str(number), value) for number, value in enumerate(here)]
    return []


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list | tuple | Foreign)


def _whole(value: Any) -> bool:
    """Tell whether something is a tensor of a known type."""
    return isinstance(value, Stored) and not (isinstance(value, Array) and not value.known)


def _is_table(value: Any) -> bool:
    inside = _children(value) if isinstance(value, dict | Foreign) else []
    tensors = [each for _, each in inside if _whole(each)]
    return bool(tensors) and all(_whole(each) or isinstance(each, int | float) for _, each in inside)


def _is_haiku(tables: list[tuple[str, Any]]) -> bool:
    """Tell haiku's modules, whose names are paths with "/", from the containers of a checkpoint."""
    return any("/" in key for key, _ in tables) and all("." not in key for key, _ in tables)


def _haiku_pairs(found: Mapping[str, Place]) -> Iterator[Place]:
    """Join X_params and X_state into X."""
    for path, place in found.items():
        other = found.get(path.removesuffix("_params") + "_state")
        if path.endswith("_params") and other is not None and not set(place.tensors) & set(other.tensors):
            yield Place(path.removesuffix("_params"), {**place.tensors, **other.tensors})


def _is_module(here: Any) -> bool:
    state = here.state if isinstance(here, Foreign) else None
    return isinstance(state, dict) and {"_parameters", "_modules"} <= state.keys()


def _module(root: Foreign) -> Iterator[tuple[str, Stored]]:
    """Return parameters and kept buffers of a network that was pickled whole, names as in its state dict."""
    waiting: list[tuple[str, Any]] = [("", root)]
    seen = 0
    while waiting and seen < _MAX_NODES:
        prefix, here = waiting.pop(0)
        seen += 1
        if not _is_module(here):
            continue
        passing = [name for _, name in _children(here.state.get("_non_persistent_buffers_set", ()))]
        for table in ("_parameters", "_buffers"):
            for name, value in _children(here.state.get(table, {})):
                if _whole(value) and name not in passing:
                    yield prefix + name, value
        if prefix.count(".") < 64:
            waiting += [(f"{prefix}{name}.", each) for name, each in _children(here.state["_modules"])]


def _plain(value: Any, budget: list[int], depth: int = 0) -> Any:
    """Return a value as JSON could hold it."""
    budget[0] -= 1
    if budget[0] < 0 or depth > _MAX_DEPTH:
        return "..."
    if value is None or isinstance(value, bool | float | int | str):
        return _short(value)
    if isinstance(value, list | tuple) and not isinstance(value, Name) and len(value) <= _MAX_ITEMS:
        return [_plain(each, budget, depth + 1) for each in value]
    inside = _children(value) if isinstance(value, dict | Foreign) else []
    if inside:
        return {key: _plain(each, budget, depth + 1) for key, each in inside[:20_000]}
    return {} if isinstance(value, dict) else _kind(value)


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return value[:_MAX_TEXT] + "..."
    return "a huge number" if isinstance(value, int) and abs(value) >= 2**63 else value


def _kind(value: Any) -> str:
    """Name what something is, in a few letters; nothing of a hostile value is shown."""
    if isinstance(value, Foreign):
        return value.name[:120]
    if isinstance(value, Name):
        return str(value)[:120]
    if isinstance(value, Stored):
        return f"tensor {list(value.shape)}"
    long = isinstance(value, list | tuple | dict)
    return f"{type(value).__name__} of {len(value)}" if long and len(value) > _MAX_ITEMS else type(value).__name__
