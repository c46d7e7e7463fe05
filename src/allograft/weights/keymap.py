"""KeyMap: how names in a file become names in an encoder, as data that can be read aloud."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, Self

from pydantic import model_validator

from allograft.core.config import Config
from allograft.core.errors import PlanError

__all__ = ["DROPPED", "KeyMap", "Mapped"]

DROPPED = "key map: dropped on purpose"
"""Reason of tensors that a line with an empty template drops."""

_GROUP = re.compile(r"\\(\d+|g<([^>]+)>)")


class Mapped(NamedTuple):
    """What a key map makes of a file: `names` maps new name to name in the file; `dropped` on purpose."""

    names: dict[str, str]
    dropped: tuple[str, ...]


class KeyMap(Config):
    r"""Ordered lines (pattern, template); the first pattern that matches the whole name wins.

    A name that no line matches stays as it is. A template of None drops the tensor on purpose.

    Args:
        lines: regular expressions with templates, e.g. ("module\.(.+)", r"\1") or ("fc\..+", None).

    >>> KeyMap(lines=((r"module\.(.+)", r"\1"),)).rename("module.conv1.weight")
    'conv1.weight'
    """

    lines: tuple[tuple[str, str | None], ...] = ()

    @model_validator(mode="after")
    def _lines_are_safe(self) -> Self:
        for pattern, template in self.lines:
            _check_line(pattern, template)
        return self

    def rename(self, name: str) -> str | None:
        """Return the new name, or None where the tensor is dropped on purpose."""
        for pattern, template in self.lines:
            found = _compiled(pattern).fullmatch(name)
            if found:
                return None if template is None else found.expand(template)
        return name

    def apply(self, names: Iterable[str], *, where: str) -> Mapped:
        """Rename all `names`; `where` names the card in errors.

        Raises:
            PlanError: two names become one, or one becomes empty.
        """
        kept: dict[str, str] = {}
        dropped: list[str] = []
        for name in names:
            new = self.rename(name)
            if new is None:
                dropped.append(name)
                continue
            if not new:
                msg = f'{where}, key map: "{name}" becomes an empty name. Correct the template.'
                raise PlanError(msg)
            if new in kept:
                msg = f'{where}, key map: "{kept[new]}" and "{name}" both become "{new}". Make the patterns narrower.'
                raise PlanError(msg)
            kept[new] = name
        return Mapped(kept, tuple(dropped))


@lru_cache(maxsize=8192)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile once: cards of hundreds of lines overflow the cache of `re`."""
    return re.compile(pattern)


def _check_line(pattern: str, template: str | None) -> None:
    """Refuse a line that cannot be meant."""
    try:
        compiled = _compiled(pattern)
    except re.error as error:
        msg = f'key map: "{pattern}" is not a regular expression: {error}'
        raise ValueError(msg) from error
    if compiled.fullmatch(""):
        # Such a pattern matches between any two characters; a prefix was once doubled that way.
        msg = f'key map: "{pattern}" matches the empty string. Write .+ for .* or name what must be there.'
        raise ValueError(msg)
    for number, name in _GROUP.findall(template or ""):
        group = name or number
        if group not in compiled.groupindex and not (group.isdigit() and int(group) <= compiled.groups):
            msg = f'key map: template "{template}" uses group {group}, which "{pattern}" does not have.'
            raise ValueError(msg)
