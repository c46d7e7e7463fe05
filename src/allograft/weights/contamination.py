"""Contamination and licence: what the reader must know before trusting or shipping a result."""

from __future__ import annotations

import re
from collections.abc import Iterable

from allograft.weights.card import WeightSource

__all__ = ["contamination_notes", "licence_note"]

_SHORTEST = 5


def contamination_notes(cohort: str, seen_as: Iterable[str], card: WeightSource) -> tuple[str, ...]:
    """Return a sentence for each data set that the weights have seen and the cohort is, or may be, part of.

    Names are compared without case, spaces and punctuation. Where one name only begins with the
    other ("ImageNet", "ImageNet-1k") the sentence says "may".

    Args:
        cohort: name of the cohort.
        seen_as: further names under which cards may list its data (`Cohort.seen_as`).
        card: the card of the weights.
    """
    notes = []
    for seen in card.seen:
        how = max((_overlap(name, seen) for name in (cohort, *seen_as)), default=0)
        if how:
            verb = "have" if how == 2 else "may have"
            notes.append(
                f'contamination: weights "{card.name}" {verb} seen {seen}, which overlaps with cohort "{cohort}"; '
                "scores on it are too good to be taken as scores on new patients."
            )
    return tuple(notes)


def licence_note(card: WeightSource) -> str | None:
    """Return a sentence for weights that may not be used commercially, None for others."""
    if card.commercial:
        return None
    return f'licence: weights "{card.name}" are {card.license}, not for commercial use; so is a network made from them.'


def _overlap(name: str, seen: str) -> int:
    """2 for the same data set, 1 where one name begins with the other, else 0."""
    a, b = (re.sub(r"[^a-z0-9]", "", each.lower()) for each in (name, seen))
    if not a or not b:
        return 0
    if a == b:
        return 2
    return int(min(len(a), len(b)) >= _SHORTEST and (a.startswith(b) or b.startswith(a)))
