"""PyTorch's files: zip archives, the legacy sequence of pickles, the older tar, and plain pickles, as trees.

Their pickles are read by `pickled`, so nothing of them is executed; tensors are `Stored` and read later.
"""

from __future__ import annotations

import re
import struct
import tarfile
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from allograft.core.errors import PlanError
from allograft.weights.reading.blob import Archive, Blob
from allograft.weights.reading.inert import Name, Refused, UnsafeFile
from allograft.weights.reading.pickled import Pickled, read_pickle
from allograft.weights.reading.rebuild import KNOWN, storage_of
from allograft.weights.reading.stored import Storage, Stored

__all__ = ["Tree", "of_archive", "of_pickles", "of_tar", "require_harmless", "require_little", "root_of", "storages"]

_MAGIC = 0x1950A86A20F9469CFC6C
_LOAD = Name("torch.storage", "_load_from_bytes")

_HOSTILE_MODULES = re.compile(
    "os|posix|nt|_posixsubprocess|subprocess|sys|pty|socket|shutil|ctypes|cffi|runpy|importlib|imp|zipimport|"
    "webbrowser|commands|code|codeop|marshal|urllib2?|http|requests|ftplib|smtplib|telnetlib|asyncio|multiprocessing|"
    "bdb|pdb|timeit|cProfile|profile|pip|setuptools|_?pickle|cPickle|copyreg|copy_reg"
)
_HOSTILE_BUILTINS = re.compile(
    "eval|exec|execfile|compile|__import__|open|input|breakpoint|globals|locals|vars|delattr|setattr|apply"
)
_HOSTILE = frozenset(("torch.load", "torch.jit.load", "numpy.load", "types.FunctionType", "types.CodeType"))
_HARMLESS = frozenset(("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__"))


class Tree(NamedTuple):
    """What a file's pickle says: plain values, `Stored` tensors, inert `Foreign` objects; and what was refused.

    `plain` tells a pickle that torch did not write.
    """

    value: Any
    refused: tuple[str, ...]
    plain: bool = False


def of_archive(archive: Archive) -> Tree:
    """Read a checkpoint that `torch.save` wrote as a zip archive.

    Raises:
        Refused, PlanError: it asks for what is never done, or was written on another kind of machine.
        Exception: whatever broken bytes lead to.
    """
    root = root_of(archive)
    require_little(archive, root)
    blob = archive.part(f"{root}data.pkl")
    read = read_pickle(blob.stream(), known=KNOWN, size=blob.size, persistent=storages(archive, root))
    return Tree(*read)


def root_of(archive: Archive) -> str:
    """Return the folder of a torch archive, with its "/".

    Raises:
        ValueError: there is no data.pkl.
    """
    found = next((name for name in archive.entries if name.endswith("/data.pkl") and name.count("/") == 1), None)
    if found is None:
        raise ValueError("the archive holds no data.pkl")
    return found.removesuffix("data.pkl")


def require_little(archive: Archive, root: str) -> None:
    """Refuse files of big-endian machines."""
    order = f"{root}byteorder"
    if order in archive.entries and bytes(archive.view(order)).strip() != b"little":
        msg = f"{archive.blob.where}: was written on a big-endian machine. Ask its authors for a safetensors file."
        raise PlanError(msg)


def storages(archive: Archive, root: str) -> Callable[[Any], Storage]:
    """Return what gives each persistent id of an archive its storage; sizes are checked, numbers not yet read."""

    def storage(pid: Any) -> Storage:
        kind, dtype, key, _, numel = pid
        if kind != "storage" or not isinstance(key, str) or not key.isdigit():
            raise ValueError("a persistent id names no storage")
        made = storage_of(dtype, numel)
        name = f"{root}data/{key}"
        if name not in archive.entries:
            raise ValueError(f"storage {key} is missing")
        size, wide = archive.entries[name].file_size, made.dtype.itemsize if made.dtype else 1
        if size != numel * wide:
            raise ValueError(f"storage {key} has {size} bytes, expected {numel} numbers of {made.dtype}")
        made.bytes = lambda: archive.view(name)
        return made

    return storage


def of_pickles(blob: Blob, *, nested: bool = False) -> Tree:
    """Read torch's legacy sequence of pickles, or one plain pickle, whichever it is.

    Args:
        blob: the file.
        nested: whether these bytes lie in another pickle; such bytes hold no further ones.

    Raises:
        Refused: it asks for what is never done.
        Exception: whatever broken bytes lead to.
    """
    stream = blob.stream()
    reader = _Legacy(blob, stream, nested=nested)
    first = reader.read()
    if first.value != _MAGIC:
        return Tree(*first, plain=True)
    _, system = reader.read(), reader.read()
    if isinstance(system.value, dict) and system.value.get("little_endian") is False:
        raise Refused("it was written on a big-endian machine")
    read = reader.read()
    reader.place(reader.read().value)
    return Tree(read.value, read.refused)


class _Legacy:
    """Reads the pickles of a legacy file one after the other and keeps the storages that they name."""

    def __init__(self, blob: Blob, stream: BinaryIO, *, nested: bool) -> None:
        self._blob, self._stream = blob, stream
        self._roots: dict[str, Storage] = {}
        self._known = KNOWN if nested else {**KNOWN, _LOAD: self._inner}
        self._inside: list[str] = []

    def read(self) -> Pickled:
        read = read_pickle(self._stream, known=self._known, size=self._blob.size, persistent=self._refer)
        return Pickled(read.value, (*read.refused, *self._inside))

    def _inner(self, args: tuple[Any, ...]) -> Any:
        """Storages that a plain pickle of tensors carries as bytes, each a legacy file of its own."""
        data = args[0].encode("latin-1") if isinstance(args[0], str) else args[0]
        tree = of_pickles(Blob(self._blob.where, memoryview(data)), nested=True)
        self._inside += tree.refused
        return tree.value

    def _refer(self, pid: Any) -> Any:
        kind, *rest = pid
        if kind in ("module", b"module"):
            return rest[0]
        if kind not in ("storage", b"storage"):
            raise ValueError("a persistent id names no storage")
        dtype, key, _, numel, view = (*rest, None)[:5]
        if not isinstance(key, str):
            raise TypeError("a storage has no name")
        root = self._roots.setdefault(key, storage_of(dtype, numel))
        return root if view is None else self._view(root, view)

    def _view(self, root: Storage, view: Any) -> Storage:
        _, offset, numel = view
        if root.dtype is None or type(offset) is not int or type(numel) is not int or min(offset, numel) < 0:
            raise ValueError("a view of a storage has no size")
        if offset + numel > root.numel:
            raise ValueError("a view reaches beyond its storage")
        begin = offset * root.dtype.itemsize
        return Storage(root.dtype, numel, lambda: (root.bytes or _nothing)()[root.offset + begin :])

    def place(self, keys: Any) -> None:
        """Find the numbers of each storage behind the pickles."""
        for key in keys:
            storage = self._roots[key]
            head = self._stream.read(8)
            (count,) = struct.unpack("<q", head)
            wide = storage.dtype.itemsize if storage.dtype else 1
            begin = self._stream.tell()
            if count != storage.numel or begin + count * wide > self._blob.size:
                room = max(self._blob.size - begin, 0)
                raise ValueError(f"a storage of {storage.numel} numbers has {count}, of which {room} bytes are there")
            storage.bytes, storage.offset = lambda: self._blob.view, begin
            self._stream.seek(begin + count * wide)


def of_tar(blob: Blob) -> Tree:
    """Read the tar archives that torch wrote before version 0.1.10.

    Raises:
        Refused: it asks for what is never done.
        Exception: whatever broken bytes lead to.
    """
    with tarfile.open(fileobj=blob.stream(), mode="r:") as tar:
        parts = {}
        for name in ("storages", "tensors", "pickle"):
            member = tar.getmember(name)
            if not member.isreg() or member.offset_data + member.size > blob.size:
                raise ValueError(f"{name} is cut off")
            view = blob.view[member.offset_data : member.offset_data + member.size]
            parts[name] = Blob(f"{blob.where}!{name}", view)
    kept = _tar_storages(parts["storages"])
    tensors = _tar_tensors(parts["tensors"], kept)

    def refer(pid: Any) -> Any:
        return pid[0] if isinstance(pid, tuple) else tensors.get(int(pid), kept.get(int(pid)))

    inside = parts["pickle"]
    return Tree(*read_pickle(inside.stream(), known=KNOWN, size=inside.size, persistent=refer))


def _tar_storages(blob: Blob) -> dict[int, Storage]:
    stream = blob.stream()

    def read() -> Any:
        return read_pickle(stream, known=KNOWN, size=blob.size).value

    kept: dict[int, Storage] = {}
    for _ in range(read()):
        key, _, kind = read()
        (count,) = struct.unpack("<q", stream.read(8))
        storage = storage_of(kind, count)
        storage.bytes, storage.offset = lambda: blob.view, stream.tell()
        stream.seek(storage.offset + count * (storage.dtype.itemsize if storage.dtype else 1))
        kept[int(key)] = storage
    for key, root, offset, count in read():
        whole = kept[int(root)]
        wide = whole.dtype.itemsize if whole.dtype else 1
        kept[int(key)] = Storage(whole.dtype, count, whole.bytes, whole.offset + offset * wide)
    return kept


def _tar_tensors(blob: Blob, kept: dict[int, Storage]) -> dict[int, Stored]:
    stream, found = blob.stream(), {}
    for _ in range(read_pickle(stream, known=KNOWN, size=blob.size).value):
        key, storage, _ = read_pickle(stream, known=KNOWN, size=blob.size).value
        axes = struct.unpack("<i4x", stream.read(8))[0]
        numbers = struct.unpack(f"<{2 * axes + 1}q", stream.read(8 * (2 * axes + 1)))
        root = kept[int(storage)]
        if root.dtype is not None:
            shape, stride = numbers[:axes], numbers[axes : 2 * axes]
            found[int(key)] = Stored(root, root.dtype, shape, stride, numbers[-1])
    return found


def require_harmless(tree: Tree, where: str) -> None:
    """Refuse a file that names what only an attack on its reader needs; nothing of it was executed.

    What makes a file safe to open is that no global is ever called, not this list: it tells a hostile file from
    one that merely holds a foreign object.

    Raises:
        PlanError: names the globals.
    """
    found = [name for name in tree.refused if _hostile(name)]
    if found:
        msg = (
            f"{where}: refused, because it names {', '.join(found[:3])[:200]}, with which a file could run code on the "
            "machine that opens it; nothing was executed. Get the weights elsewhere, as a safetensors file."
        )
        raise UnsafeFile(msg)


def _hostile(name: str) -> bool:
    module, _, last = name.rpartition(".")
    top = module.partition(".")[0]
    if name in _HARMLESS:
        return False
    builtin = top in {"builtins", "__builtin__"} and _HOSTILE_BUILTINS.fullmatch(last) is not None
    return builtin or _HOSTILE_MODULES.fullmatch(top) is not None or name in _HOSTILE or module.startswith("torch.hub")


def _nothing() -> memoryview:
    raise ValueError("a storage has no numbers in the file")
