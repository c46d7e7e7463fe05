"""Private data: what leaves the study folder carries salted hashes, never ids."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from allograft.core.atomic import write_text

__all__ = ["hide", "home", "pseudonym", "site_salt"]


def home() -> Path:
    """Return the folder for caches and the site's salt: $ALLOGRAFT_HOME or ~/.cache/allograft."""
    return Path(os.environ.get("ALLOGRAFT_HOME", "") or Path.home() / ".cache" / "allograft")


def site_salt() -> str:
    """Return this site's secret salt, made on first use and readable by the user only."""
    path = home() / "salt"
    if not path.exists():
        write_text(path, secrets.token_hex(16))
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


def hide(text: str, names: Mapping[str, str]) -> str:
    """Return `text` with every id in it replaced by its pseudonym.

    Args:
        text: a message.
        names: pseudonym by id; ids are replaced as whole words, the longest first.
    """
    found = sorted((name for name in names if name in text), key=len, reverse=True)
    for name in found:
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", names[name], text)
    return text


def pseudonym(name: str, salt: str) -> str:
    """Return 10 hexadecimal digits that stand for `name`; without the salt they cannot be guessed."""
    return hmac.new(salt.encode(), name.encode(), hashlib.sha256).hexdigest()[:10]
