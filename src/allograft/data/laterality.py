"""Laterality: class names that say left or right, which mirroring an image would make wrong.

Volumes are read with axes that run to superior, anterior, right, so left-right is the last axis; of
pictures it is the last axis too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["sided_classes"]

WORDS = frozenset({
    "left", "right", "lt", "rt", "lh", "rh", "sin", "sinister", "sinistra", "sinistrum", "dex", "dext", "dexter",
    "dextra", "dextrum", "links", "rechts", "linke", "rechte", "gauche", "droit", "droite", "izquierdo", "izquierda",
    "derecho", "derecha", "sinistro", "destro", "destra",
})  # fmt: skip
"""Words that say a side by themselves."""

LETTERS = {"l": "r", "r": "l"}
"""Letters that say a side only where the class of the other side is there too (kidney_L and kidney_R)."""


def sided_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that say a side of the body, in their order.

    >>> sided_classes(["background", "kidney_L", "kidney_R", "Lobe upper left", "LeftHippocampus", "class_r"])
    ('kidney_L', 'kidney_R', 'Lobe upper left', 'LeftHippocampus')
    >>> sided_classes(["upright", "vertebra L1", "L", "cleft"])
    ()
    """
    parts = {name: _words(name) for name in names}
    known = set(parts.values())
    return tuple(name for name, words in parts.items() if WORDS & set(words) or _has_partner(words, known))


def _words(name: str) -> tuple[str, ...]:
    """Split a name at signs, digits, and where a small letter meets a capital."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return tuple(word.lower() for word in re.findall(r"[^\W_]+", apart))


def _has_partner(words: tuple[str, ...], known: set[tuple[str, ...]]) -> bool:
    """Tell whether a class of the other side is there, by a single letter."""
    turned = [(*words[:i], LETTERS[word], *words[i + 1 :]) for i, word in enumerate(words) if word in LETTERS]
    return any(each in known for each in turned)
