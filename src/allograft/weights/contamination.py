"""Contamination and licence: what the reader must know before trusting or shipping a result."""

from __future__ import annotations

from collections.abc import Iterable

from allograft.weights.card import WeightSource
from allograft.weights.known_data import overlap

__all__ = ["contamination_notes", "licence_note", "licence_words"]


def contamination_notes(cohort: str, seen_as: Iterable[str], card: WeightSource) -> tuple[str, ...]:
    """Return a sentence for each data set that the weights have seen and the cohort is, or may be, part of.

    Names are compared without case, spaces and punctuation, and other names of well-known sets are known. Where
    one set is made out of the other, or one name only begins with the other, the sentence says "may".

    Args:
        cohort: name of the cohort.
        seen_as: further names under which cards may list its data (`Cohort.seen_as`).
        card: the card of the weights.
    """
    notes = []
    for seen in card.seen:
        how = max((overlap(name, seen) for name in (cohort, *seen_as)), default=0)
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


def licence_words(card: WeightSource) -> str:
    """Return a card's licence as it is shown where weights are chosen."""
    return card.license + ("" if card.commercial else " (not for commercial use)")
