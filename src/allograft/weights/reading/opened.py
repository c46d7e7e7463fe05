"""One file of weights, opened by its content: safetensors, torch's formats, TorchScript, pickles, numpy archives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from allograft.core.errors import PlanError
from allograft.weights.reading.blob import Archive, Blob
from allograft.weights.reading.containers import Place, averaged, places, plain_facts
from allograft.weights.reading.inert import Refused, UnsafeFile
from allograft.weights.reading.tensors import MemoryTensors, SafetensorsFile, StoredTensors, TensorFile
from allograft.weights.reading.torchfiles import Tree, of_archive, of_pickles, of_tar, require_harmless
from allograft.weights.reading.torchscript import has_code, tensors_of

__all__ = ["FileContent", "open_archive", "open_blob", "open_file"]

_UNFOLDING = 8

_OTHERS = {
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"\x89HDF": "an HDF5 file (Keras); convert it to safetensors with the framework that wrote it",
    b"\x89PNG": "a picture",
    b"<!DO": "a web page, probably what a download link gave instead of the file; fetch it again",
    b"<htm": "a web page, probably what a download link gave instead of the file; fetch it again",
    b"vers": "a pointer of Git LFS instead of the file; fetch the file itself (git lfs pull)",
}


@dataclass(frozen=True)
class FileContent:
    """A file or folder of weights, opened; nothing that it holds was executed.

    Args:
        where: path of the file or folder.
        format: "safetensors", "safetensors shards", "torch", "torch shards", "torchscript", "pickle",
            "numpy archive", "monai bundle" or "nnunet folder".
        containers: by dotted path inside the file ("" for the top) its tensors, the best first; see
            `weights.containers` for the rule.
        facts: what else the file says (epoch, plans, hyper-parameters), plain values only.
        refused: globals that the file names and that were not executed.
        notes: what a reader should know, in sentences: averaged weights that were not taken, parts of a set.
    """

    where: str
    format: str
    containers: Mapping[str, TensorFile]
    facts: Mapping[str, Any]
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def open_file(path: Path) -> FileContent:
    """Open one file by its content, whatever its ending says.

    Raises:
        PlanError: not readable, truncated, of another format, unsafe, or without tensors.
    """
    blob = Blob.of(path)
    if bytes(blob.view[8:9]) == b"{":
        opened = SafetensorsFile(path)
        return FileContent(str(path), "safetensors", {"": opened}, dict(opened.metadata))
    return open_blob(blob)


def open_blob(blob: Blob) -> FileContent:
    """Open the bytes of one file; for files inside an archive.

    Raises:
        PlanError: as `open_file` does.
    """
    head = bytes(blob.view[:265])
    if head[8:9] == b"{":
        return _safetensors(blob)
    if head[:2] == b"PK":
        return open_archive(Archive(blob))
    other = next((what for mark, what in _OTHERS.items() if head.startswith(mark)), None)
    if other is not None:
        raise PlanError(f"{blob.where}: {other}.")
    known = head[:1] == b"\x80" or head[257:262] == b"ustar"
    try:
        tree = of_tar(blob) if head[257:262] == b"ustar" else of_pickles(blob)
    except Exception as error:
        raise _broken(blob, error, known=known) from error
    return _from_tree(tree, "pickle" if tree.plain else "torch", blob)


def open_archive(archive: Archive) -> FileContent:
    """Open a zip archive: TorchScript, numpy's or a checkpoint.

    Raises:
        PlanError: as `open_file` does.
    """
    blob = archive.blob
    if has_code(archive):
        content: TensorFile = StoredTensors(tensors_of(archive), blob.where)
        return FileContent(blob.where, "torchscript", {"": content}, {})
    if archive.entries and all(name.endswith(".npy") for name in archive.entries):
        return _numpy(archive)
    try:
        tree = of_archive(archive)
    except PlanError:
        raise
    except Exception as error:
        raise _broken(blob, error, known=True) from error
    return _from_tree(tree, "torch", blob)


def _from_tree(tree: Tree, form: str, blob: Blob) -> FileContent:
    """List the places of a tree.

    Raises:
        PlanError: it names what only an attack needs, has no tensors, or would unfold to far more than it holds.
    """
    require_harmless(tree, blob.where)
    found = places(tree.value)
    facts = plain_facts(tree.value, found)
    if not found:
        raise PlanError(_without_tensors(tree.value, facts, blob))
    for place in found:
        if sum(each.nbytes for each in place.tensors.values()) > _UNFOLDING * blob.size + 2**20:
            msg = f'{blob.where}: the tensors at "{place.path}" would unfold to many times the file\'s size. Refused.'
            raise PlanError(msg)
    refused = tuple(dict.fromkeys(tree.refused))
    containers = {place.path: StoredTensors(place.tensors, blob.where, place.skipped) for place in found}
    return FileContent(blob.where, form, containers, _lifted(facts), refused, _notes(found, refused))


def _without_tensors(value: Any, facts: Mapping[str, Any], blob: Blob) -> str:
    if not isinstance(value, dict) and not facts:
        kind = "Tensor" if hasattr(value, "storage") else type(value).__name__
        return f"{blob.where}: expected named tensors, got {kind}."
    holds = ", ".join(list(facts)[:8]) or "nothing"
    return f"{blob.where}: no tensors of weights in it; it holds {holds}. It is not a checkpoint of weights."


def _lifted(facts: dict[str, Any]) -> dict[str, Any]:
    """Put nnU-Net's plans and data set, which lie among its trainer's arguments, at the top."""
    inside = facts.get("init_args")
    table: Mapping[str, Any] = inside if isinstance(inside, Mapping) else {}
    found = {name: table[name] for name in ("plans", "dataset_json") if name in table}
    return {**found, **facts}


def _notes(found: tuple[Place, ...], refused: tuple[str, ...]) -> tuple[str, ...]:
    """Say what was not taken, and why."""
    soft = [place.path for place in found if averaged(place.path)]
    notes = []
    if len(soft) == len(found):
        notes.append(f'the file holds averaged weights only ("{soft[0]}")')
    elif soft:
        notes.append(
            f'averaged weights lie under "{soft[0]}"; "{found[0].path}" comes first, name the other as the card\'s '
            "container to take it"
        )
    if refused:
        shown = ", ".join(each[:120] for each in refused[:5]) + (" ..." if len(refused) > 5 else "")
        notes.append(f"{len(refused)} globals were not executed: {shown}")
    return tuple(notes)


def _safetensors(blob: Blob) -> FileContent:
    try:
        tensors = load_safetensors(bytes(blob.view))
    except (SafetensorError, ValueError, KeyError) as error:
        msg = f"{blob.where}: not a whole safetensors file ({error}). Fetch it again."
        raise PlanError(msg) from error
    return FileContent(blob.where, "safetensors", {"": MemoryTensors(tensors)}, {})


def _numpy(archive: Archive) -> FileContent:
    """Read numpy's archive of arrays; arrays of objects, which are pickles, are refused."""
    where = archive.blob.where
    try:
        with np.load(archive.blob.stream(), allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays.files}
    except Exception as error:  # numpy raises what broken bytes lead to
        msg = f"{where}: not a whole numpy archive of numbers ({_short(error)}). Fetch it again."
        raise PlanError(msg) from error
    return FileContent(where, "numpy archive", {"": MemoryTensors(tensors)}, {})


def _broken(blob: Blob, error: Exception, *, known: bool) -> PlanError:
    """Say why bytes cannot be read."""
    if isinstance(error, PlanError):
        return error
    if isinstance(error, Refused):
        return UnsafeFile(f"{blob.where}: refused, because {error}. Ask its authors for a safetensors file.")
    if not known:
        return PlanError(f"{blob.where}: neither safetensors nor a whole PyTorch checkpoint. Fetch it again.")
    return PlanError(f"{blob.where}: not a whole PyTorch checkpoint ({_short(error)}). Fetch it again.")


def _short(error: Exception) -> str:
    text = " ".join(str(error)[:300].split()) or type(error).__name__
    return text if len(text) <= 240 else text[:237] + "..."
