"""Suggest: what to write into a key map when names do not meet."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

__all__ = ["closest", "drop_line", "drop_patterns", "mend"]

_ENOUGH = 0.5


def closest(name: str, shape: tuple[int, ...], known: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return the known name that most resembles `name`, tensors of its shape first."""
    same = [each for each, s in known.items() if s == shape]
    for pool in (same, list(known)):
        found = get_close_matches(name, pool, n=1, cutoff=0.4)
        if found:
            return found[0]
    return None


def mend(missing: Sequence[str], free: Collection[str]) -> str:
    r"""Return a key-map line that would bring the missing names, as a sentence; "" where none is seen.

    Two families are known: the file has a prefix that the network has not ("module."), and the other
    way round.

    >>> mend(["conv1.weight", "bn1.bias"], ["module.conv1.weight", "module.bn1.bias"])
    'Add ("module\\.(.+)", "\\1") to the card\'s key map.'
    """
    have = set(free)
    best, share = "", 0.0
    for prefix in _prefixes(missing, have):
        got = sum(prefix + name in have for name in missing) / len(missing)
        if got > share:
            best, share = rf'Add ("{re.escape(prefix)}(.+)", "\1") to the card' + "'s key map.", got
    for prefix in _prefixes(sorted(have), set(missing)):
        got = sum(name.startswith(prefix) and name[len(prefix) :] in have for name in missing) / len(missing)
        if got > share:
            best, share = rf'Add ("(.+)", "{prefix}\1") to the card' + "'s key map.", got
    return best if share >= _ENOUGH else ""


def drop_line(names: Sequence[str], known: Collection[str]) -> str:
    r"""Return key-map lines that drop `names` on purpose and none of the `known` ones.

    >>> drop_line(["fc.weight", "fc.bias"], ["conv1.weight"])
    '("fc\\..+", null)'
    """
    return ", ".join(f'("{line}", null)' for line in drop_patterns(names, known)[:4])


def drop_patterns(names: Sequence[str], known: Collection[str]) -> list[str]:
    """Return patterns that match all of `names` and none of the `known` ones, as short as they can be."""
    lines: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        heads = (".".join(parts[: i + 1]) for i in range(len(parts) - 1))
        free = next((head for head in heads if not any(each.startswith(head + ".") for each in known)), None)
        lines[re.escape(name) if free is None else re.escape(free) + r"\..+"] = None
    return list(lines)


def _prefixes(short: Sequence[str], long: Collection[str]) -> list[str]:
    """Prefixes that turn some of the first short names into long ones."""
    found: dict[str, None] = {}
    for name in short[:5]:
        for each in long:
            if each.endswith("." + name):
                found[each[: -len(name)]] = None
    return sorted(found, key=len)
