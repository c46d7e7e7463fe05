"""Channel names: what the channels of an image mean, compared as people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["canonical_channels", "channel_words", "match_channels"]

_SAME: tuple[tuple[str, ...], ...] = (
    ("t1", "t1w", "t1n", "t1weighted", "t1native"),
    ("t1ce", "t1c", "t1gd", "t1km", "t1wce", "t1wgd", "t1post", "t1contrast", "cet1", "cet1w"),
    ("t2", "t2w", "t2weighted"),
    ("flair", "t2f", "t2flair", "fluidattenuatedinversionrecovery"),
    ("pd", "pdw", "protondensity"),
    ("adc", "apparentdiffusioncoefficient"),
    ("dwi", "diffusion", "diffusionweighted"),
    ("ct", "hu", "computedtomography"),
    ("pet", "pt", "suv"),
    ("grey", "gray", "greyscale", "grayscale", "luminance"),
)
"""Words for one meaning, without case and punctuation; the first is the canonical one. A word that is not here means
itself."""

_CANONICAL = {word: words[0] for words in _SAME for word in words}


_LETTERS = {"r": "red", "g": "green", "b": "blue"}
"""Single letters mean colours where all three are there."""


def canonical_channels(names: Sequence[str]) -> tuple[str, ...]:
    """Return the canonical words for channels.

    >>> canonical_channels(("T1-Gd", "HU", "b 1000"))
    ('t1ce', 'ct', 'b1000')
    >>> canonical_channels(("B", "G", "R")), canonical_channels(("a", "b"))
    (('blue', 'green', 'red'), ('a', 'b'))
    """
    plain = [re.sub(r"[^a-z0-9]", "", name.casefold()) for name in names]
    if set(plain) == set(_LETTERS):
        return tuple(_LETTERS[word] for word in plain)
    return tuple(_CANONICAL.get(word, word) for word in plain)


def match_channels(source: Sequence[str], data: Sequence[str]) -> tuple[int | None, ...] | None:
    """Return, for each channel of the data, the index of the source's channel of the same meaning.

    Args:
        source: names of the channels that weights were trained on, in order; empty where unknown.
        data: names of the data's channels, in order; empty where unknown.

    Returns:
        One index for each channel of the data, None for one that the source has not; None in place of all where
        names are unknown or not distinct on either side, or where no name is on both.

    >>> match_channels(("t1", "t1ce", "t2", "flair"), ("FLAIR", "T1w", "ADC"))
    (3, 0, None)
    >>> match_channels(("red", "green", "blue"), ("CT",)) is None
    True
    """
    theirs, ours = canonical_channels(source), canonical_channels(data)
    if not (_told_apart(theirs) and _told_apart(ours)):
        return None
    found = tuple(theirs.index(name) if name in theirs else None for name in ours)
    return found if any(index is not None for index in found) else None


def channel_words(source: Sequence[str], data: Sequence[str], found: Sequence[int | None], new: str) -> str:
    """Return a map of channels in words.

    >>> channel_words(("t1", "flair"), ("FLAIR", "ADC"), (1, None), "mean of known")
    'FLAIR<-flair, ADC: mean of known; not used: t1'
    """
    pairs = zip(data, found, strict=True)
    said = ", ".join(f"{name}: {new}" if index is None else f"{name}<-{source[index]}" for name, index in pairs)
    rest = [name for index, name in enumerate(source) if index not in found]
    return said + (f"; not used: {', '.join(rest)}" if rest else "")


def _told_apart(names: Sequence[str]) -> bool:
    """Tell whether names are known and each channel has its own."""
    return bool(names) and all(names) and len(set(names)) == len(names)
