"""Headings: the fixed sections of a method file's docstring, read for docs, reports and checks."""

from __future__ import annotations

import inspect
import re

from allograft.core.errors import ConfigError

__all__ = ["HEADINGS", "first_line", "parse", "unmarked_defaults"]

HEADINGS = ("Idea", "Paper", "Formula", "Streams", "Defaults", "Differs", "Checked")

_START = re.compile(r"^(?P<name>[A-Z][a-z]+)(?: {2,}|\s*$)(?P<text>.*)$")
_MARK = re.compile(r"\((?:paper|ours)\b")


def parse(docstring: str | None, *, where: str = "this docstring") -> dict[str, str]:
    """Return the text of each heading, on one line, in the order of `HEADINGS`.

    A section starts with its heading in the first column and two blanks; further lines are indented.

    Args:
        docstring: the module docstring of a method file.
        where: what to call it in errors, for example the module's name.

    Raises:
        ConfigError: a heading is missing, empty, doubled or out of order.

    >>> text = '''X: a method.
    ...
    ... Idea      One.
    ... Paper     Two
    ...           and more.
    ... Formula   Three
    ... Streams   none.
    ... Defaults  k = 1 (ours).
    ... Differs   none.
    ... Checked   Seven.
    ... '''
    >>> parse(text)["Paper"]
    'Two and more.'
    """
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in inspect.cleandoc(docstring or "").splitlines()[1:]:
        match = _START.match(line)
        if match and match["name"] in HEADINGS:
            if match["name"] in found:
                msg = f'{where}: the heading "{match["name"]}" appears twice. Expected each of {_list()} once.'
                raise ConfigError(msg)
            current = found[match["name"]] = [match["text"].strip()]
        elif current is not None and (not line or line.startswith(" ")):
            current.append(line.strip())
        else:
            current = None
    sections = {name: " ".join(part for part in lines if part) for name, lines in found.items()}
    _require_complete(sections, where)
    return sections


def first_line(docstring: str | None) -> str:
    """Return the first line of a docstring without its full stop, "" for none.

    >>> first_line("MMD: means agree.")
    'MMD: means agree'
    """
    return inspect.cleandoc(docstring or "").partition("\n")[0].rstrip(".")


def unmarked_defaults(text: str) -> list[str]:
    """Return the settings in a section *Defaults* that say neither paper nor ours.

    >>> unmarked_defaults("gamma = 10 (paper). hidden = 1024. weight = 1 (ours; as in the code).")
    ['hidden']
    """
    pieces = re.split(r"(\w+)\s*=(?!=)", text)  # text before, then name and text in turn
    return [name for name, said in zip(pieces[1::2], pieces[2::2], strict=True) if not _MARK.search(said)]


def _require_complete(sections: dict[str, str], where: str) -> None:
    """Refuse sections that are missing, empty or out of order."""
    missing = [name for name in HEADINGS if not sections.get(name)]
    if missing:
        msg = (
            f"{where}: the docstring has no text under {', '.join(missing)}. Expected the headings {_list()}, "
            f'each at the start of a line; write "none." where there is nothing to say.'
        )
        raise ConfigError(msg)
    if tuple(sections) != HEADINGS:
        msg = f"{where}: the headings are in the order {', '.join(sections)}. Expected {_list()}."
        raise ConfigError(msg)


def _list() -> str:
    """Return the headings for a message."""
    return ", ".join(HEADINGS)
