"""Errors, one class per next action of the reader.

Every message says what happened and where, what was expected, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "AllograftError",
    "ConfigError",
    "DataError",
    "MissingExtra",
    "NumericsError",
    "Pending",
    "PlanError",
    "ResumeError",
    "did_you_mean",
]


class AllograftError(Exception):
    """Any error that allograft raises on purpose."""


class ConfigError(AllograftError):
    """A study file, a card or an argument is wrong: fix the file."""


class DataError(AllograftError):
    """An image, a label or a manifest is wrong: fix the data."""


class PlanError(AllograftError):
    """The transfer is not what the user thinks: read the plan."""


class NumericsError(AllograftError):
    """A step produced a value that is not finite: look at that step and its cases."""


class ResumeError(AllograftError):
    """A folder belongs to another recipe or study: choose another folder."""


class Pending(AllograftError):  # noqa: N818 - no error: the run goes on when the labels are there
    """A person is asked for labels: give them and run again."""


class MissingExtra(AllograftError):  # noqa: N818 - named for what the reader does next
    """An optional package is needed.

    Args:
        feature: what the user asked for, in plain words.
        package: the package that is missing.
        extra: the extra of allograft that installs it.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs the package {package!r}. Install it: pip install 'allograft[{extra}]'")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence naming the closest known name and all known names.

    >>> did_you_mean("frozn", ["frozen", "full"])
    'Did you mean "frozen"? Known: frozen, full.'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    return f"{hint}Known: {', '.join(names)}."
