"""Heads by name: which row of a source's head becomes which output of the network's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from allograft.weights.card import WeightSource
from allograft.weights.kinds import Slot
from allograft.weights.plan import Entry

__all__ = ["HeadRows", "Unkept", "head_rows", "row_order"]

_BACKGROUND = frozenset({"background", "bg", "backgroundclass"})


class HeadRows(NamedTuple):
    """The rows of one tensor of a head.

    Args:
        source: the source's tensor.
        rows: for each output, the source's row of its class, None for a class that it has not.
        words: the label map in words.
    """

    source: str
    rows: tuple[int | None, ...]
    words: str

    @property
    def text(self) -> str:
        """The rows as an entry's argument holds them."""
        return " ".join("new" if row is None else str(row) for row in self.rows)


class Unkept(NamedTuple):
    """Why no row is kept; `wrong` where classes meet and tensors do not fit, so that something is amiss."""

    text: str
    wrong: bool = False


def head_rows(slot: Slot, card: WeightSource, shapes: Mapping[str, tuple[int, ...]]) -> HeadRows | Unkept:
    """Return the rows of a head's last layer, or why none is kept.

    Names are compared without case and punctuation; the background of a segmentation, its first class, also meets
    a first row that is called background. The source's head is the one of the same name, else the one that shares
    most classes.

    Args:
        slot: a tensor whose rows are outputs (`slot.outputs`).
        card: of the source; its `classes` name the rows of its heads.
        shapes: of the source's tensors.
    """
    if not card.classes:
        return Unkept(f'card "{card.name}" names no classes')
    found = {head: _match(slot, names) for head, names in card.classes.items()}
    head = slot.head if slot.head in found else max(found, key=lambda name: sum(r is not None for r in found[name]))
    rows, names = found[head], card.classes[head]
    if all(row is None for row in rows):
        return Unkept(f"none of its classes ({', '.join(slot.outputs)}) is one of the source's ({', '.join(names)})")
    key = next((key for key in _keys(slot, head) if key in shapes), None)
    if key is None:
        text = f'the card names classes of head "{head}", the source has no tensor {_keys(slot, head)[0]}'
        return Unkept(text, wrong=True)
    shape = shapes[key]
    if shape[0] != len(names):
        return Unkept(f"{key} has {shape[0]} rows, the card names {len(names)} classes", wrong=True)
    width, wanted = (tuple(n for n in axes[1:] if n != 1) for axes in (shape, slot.shape))
    if width != wanted:
        return Unkept(f"{key} reads {shape[1:]} features, the network's head {slot.shape[1:]}", wrong=True)
    return HeadRows(key, rows, _words(slot, names, rows))


def row_order(entry: Entry) -> tuple[int | None, ...]:
    """Return, for each output, the source's row, None for one that stays as built."""
    return tuple(None if word == "new" else int(word) for word in str(entry.args["rows"]).split())


def _match(slot: Slot, names: tuple[str, ...]) -> tuple[int | None, ...]:
    """Return the source's row of each output."""
    theirs = [_plain(name) for name in names]
    found = [theirs.index(_plain(name)) if _plain(name) in theirs else None for name in slot.outputs]
    if slot.background and found[0] is None and theirs and theirs[0] in _BACKGROUND:
        found[0] = 0
    return tuple(found)


def _keys(slot: Slot, head: str) -> tuple[str, ...]:
    """Return the names that a source may have for a tensor: our own heads', or the bare one of a card."""
    last = slot.source.rpartition(".")[2]
    own = slot.source.removeprefix(f"heads.{slot.head}.")
    return tuple(dict.fromkeys(f"heads.{head}.{name}" for name in (own, f"linear.{last}", f"conv.{last}", last)))


def _words(slot: Slot, names: tuple[str, ...], rows: tuple[int | None, ...]) -> str:
    pairs = zip(slot.outputs, rows, strict=True)
    said = ", ".join(f"{name}: fresh" if row is None else f"{name}<-{names[row]}" for name, row in pairs)
    rest = [name for i, name in enumerate(names) if i not in rows]
    return f"label map: {said}" + (f"; not used: {', '.join(rest)}" if rest else "")


def _plain(name: str) -> str:
    """Return a class name without case and punctuation."""
    plain = re.sub(r"[^a-z0-9]", "", name.casefold())
    return "background" if plain in _BACKGROUND else plain
