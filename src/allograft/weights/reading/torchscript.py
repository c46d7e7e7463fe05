"""TorchScript archives: their tensors by name, read without running the code that lies beside them.

Such an archive is a zip of `code/` (never read here), `data.pkl` (the tree of modules) and one file for
each tensor's numbers. Modules become inert records of their attributes; any global that is neither a module
nor a tensor refuses the whole archive by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from allograft.core.errors import PlanError
from allograft.weights.reading.blob import Archive, Blob
from allograft.weights.reading.inert import Foreign, Name, Refused, UnsafeFile
from allograft.weights.reading.pickled import read_pickle
from allograft.weights.reading.rebuild import TORCHSCRIPT
from allograft.weights.reading.stored import Stored
from allograft.weights.reading.torchfiles import require_little, root_of, storages

__all__ = ["has_code", "is_torchscript", "read_torchscript", "tensors_of"]

MAX_TREE = 64 * 2**20
"""Largest data.pkl in bytes."""

MAX_NAMES, MAX_DEPTH = 100_000, 64


def is_torchscript(path: Path) -> bool:
    """Tell whether a file is a TorchScript archive."""
    try:
        return has_code(Archive(Blob.of(path)))
    except PlanError:
        return False


def has_code(archive: Archive) -> bool:
    """Tell whether a zip is a TorchScript archive: it has code beside its data."""
    return any(name.split("/")[1:2] == ["code"] for name in archive.entries)


def tensors_of(archive: Archive) -> dict[str, Stored]:
    """Return the tensors of the module tree by their dotted names.

    Raises:
        PlanError: damaged, big-endian, or holding anything but modules, plain values and tensors.
    """
    where = archive.blob.where
    try:
        root = root_of(archive)
        require_little(archive, root)
        blob = archive.part(f"{root}data.pkl")
        _require_small(blob)
        read = read_pickle(
            blob.stream(),
            known=TORCHSCRIPT,
            size=blob.size,
            persistent=storages(archive, root),
            strict=_is_module,
        )
        return dict(_walk(read.value))
    except PlanError:
        raise
    except Refused as error:
        msg = (
            f"{where}: refused, because {error}, which no archive of modules and tensors needs. "
            "Ask its authors for a safetensors file."
        )
        raise UnsafeFile(msg) from error
    except Exception as error:  # broken bytes raise whatever they lead to
        msg = f"{where}: not a whole TorchScript archive ({type(error).__name__}: {error}). Fetch it again."
        raise PlanError(msg) from error


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of an archive by their dotted names, on the CPU.

    Raises:
        PlanError: as `tensors_of` does.
    """
    return {name: stored.load() for name, stored in tensors_of(Archive(Blob.of(path))).items()}


def _require_small(blob: Blob) -> None:
    if blob.size > MAX_TREE:
        raise Refused(f"its data.pkl has more than {MAX_TREE} bytes")


def _is_module(name: Name) -> bool:
    return name.module.partition(".")[0] == "__torch__"


def _walk(root: object) -> Iterator[tuple[str, Stored]]:
    """Walk the tree in its own order; modules that are used twice have two names."""
    count, waiting = 0, [("", root, 0)]
    while waiting:
        name, here, depth = waiting.pop()
        count += 1
        if count > MAX_NAMES or depth > MAX_DEPTH:
            raise Refused(f"its module tree has more than {MAX_NAMES} names or {MAX_DEPTH} levels")
        if isinstance(here, Stored):
            yield name, here
        elif isinstance(here, Foreign) and isinstance(here.state, dict):
            inside = [(f"{name}.{key}" if name else str(key), value, depth + 1) for key, value in here.state.items()]
            waiting += reversed(inside)
