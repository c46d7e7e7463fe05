"""Cards: facts about data and weights, what matters first and the rest folded away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Card", "card"]

_FIRST = (
    "name", "task", "labels", "cases", "unit", "units", "classes", "image", "paper", "encoder", "has seen",
    "commercial", "commercial use", "proof",
)  # fmt: skip
_ELSEWHERE = frozenset({"title", "licence", "notes", "counts", "groups"})
"""Shown elsewhere on the page, or a second name for another fact."""


class Card(NamedTuple):
    """A card as the page shows it.

    Args:
        title: what it is.
        licence: its licence, empty where the card names none.
        facts: what matters to a reader.
        more: what matters to somebody who repeats it: origins, hashes, preprocessing.
    """

    title: str
    licence: str
    facts: Mapping[str, Any]
    more: Mapping[str, Any]


def card(facts: Mapping[str, Any]) -> Card:
    """Sort a card's facts; empty ones are left out."""
    known = {key: value for key, value in facts.items() if key not in _ELSEWHERE}
    full: dict[str, Any] = _full(known) or {}
    return Card(
        title=str(facts.get("title") or facts.get("name") or "card"),
        licence=str(facts.get("licence") or ""),
        facts={key: full[key] for key in _FIRST if key in full},
        more={key: value for key, value in full.items() if key not in _FIRST},
    )


def _full(value: Any) -> Any:
    """Return a value without its empty parts; None where nothing is left."""
    if isinstance(value, Mapping):
        found = {str(key): full for key, inner in value.items() if (full := _full(inner)) is not None}
        return found or None
    return None if value is None or value in ("", [], ()) else value
