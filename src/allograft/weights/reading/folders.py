"""Folders of weights: shards with an index, MONAI bundles (folder or zip), nnU-Net's results, one file in a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from allograft.core.errors import PlanError
from allograft.weights.reading.blob import Archive
from allograft.weights.reading.inert import UnsafeFile
from allograft.weights.reading.opened import FileContent, open_archive, open_blob, open_file
from allograft.weights.reading.tensors import JoinedTensors, TensorFile

__all__ = ["open_folder", "open_index", "open_zip", "shard_note"]

_INDEXES = (
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
)
_SINGLE = ("model.safetensors", "weights.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
_BUNDLE = tuple(f"models/model{ending}" for ending in (".safetensors", ".pt", ".pth", ".ts"))
_FOLD_FILES = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth", "model_final_checkpoint.model")
_METADATA = ("configs/metadata.json", "configs/inference.json", "docs/metadata.json")
_MAX_JSON = 64 * 2**20


def open_folder(folder: Path) -> FileContent:
    """Open a folder of weights.

    Raises:
        PlanError: it is none that is known, or a file that it needs is missing or damaged; names the file.
    """
    for name in _INDEXES:
        if (folder / name).is_file():
            return open_index(folder / name)
    bundle = next((folder / name for name in _BUNDLE if (folder / name).is_file()), None)
    if bundle is not None:
        facts = {Path(name).stem: _json(folder / name) for name in _METADATA[:1] if (folder / name).is_file()}
        return _as_bundle(open_file(bundle), str(folder), facts)
    folds = dict(_folds(folder))
    if folds:
        return _nnunet(folder, folds)
    single = next((folder / name for name in _SINGLE if (folder / name).is_file()), None)
    if single is None:
        msg = (
            f"{folder}: no weights that are known in this folder. Expected one of {', '.join(_SINGLE)}, an index of "
            f"shards, {_BUNDLE[1]} (MONAI bundle) or fold_0/{_FOLD_FILES[0]} (nnU-Net). Give the file itself."
        )
        raise PlanError(msg)
    content = open_file(single)
    config = folder / "config.json"
    return replace(content, facts={**({"config": _json(config)} if config.is_file() else {}), **content.facts})


def open_index(index: Path) -> FileContent:
    """Open shards by their index: `weight_map` says which tensor lies in which file.

    Raises:
        PlanError: a shard is missing, cut off, or lacks a tensor that the index places in it; names it.
    """
    told = _json(index)
    table = told.get("weight_map") if isinstance(told, dict) else None
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise PlanError(f"{index}: not an index of shards; expected a weight_map of tensors and files.")
    parts: dict[str, TensorFile] = {}
    refused: list[str] = []
    names = list(dict.fromkeys(table.values()))
    for name in names:
        content = _shard(index, name, len(names))
        parts[name] = next(iter(content.containers.values()))
        refused += content.refused
        lacking = next((key for key, home in table.items() if home == name and key not in parts[name].shapes), None)
        if lacking is not None:
            raise PlanError(f"{index.parent / name}: the index places tensor {lacking} in it and it is not there.")
    joined = JoinedTensors(parts, str(index.parent))
    facts = told.get("metadata", {})
    config = index.parent / "config.json"
    facts = {**(facts if isinstance(facts, dict) else {}), **({"config": _json(config)} if config.is_file() else {})}
    form = "safetensors shards" if names[0].endswith(".safetensors") else "torch shards"
    return FileContent(str(index.parent), form, {"": joined}, facts, tuple(refused))


def _shard(index: Path, name: str, count: int) -> FileContent:
    path = PurePosixPath(name)
    if path.is_absolute() or len(path.parts) != 1 or "\\" in name or name in {"", ".."}:
        raise UnsafeFile(f'{index}: refused, because shard "{name[:80]}" does not lie beside it.')
    if not (index.parent / name).is_file():
        msg = f"{index.parent}: shard {name} is missing, one of {count} that {index.name} names. Fetch it."
        raise PlanError(msg)
    return open_file(index.parent / name)


def shard_note(path: Path) -> tuple[str, ...]:
    """Say that a file is one of several, where its name says so."""
    found = re.search(r"-(\d{5})-of-(\d{5})\.", path.name)
    if not found or int(found[2]) < 2:
        return ()
    return (f"the file is shard {int(found[1])} of {int(found[2])}; give the folder or the index for all of them",)


def open_zip(archive: Archive) -> FileContent:
    """Open a zip archive: a MONAI bundle where it has the files of one, else what `open_archive` says."""
    found = next((name for end in _BUNDLE for name in archive.entries if f"/{name}".endswith(f"/{end}")), None)
    if found is None:
        return open_archive(archive)
    root = found[: -len(next(end for end in _BUNDLE if found.endswith(end)))]
    facts = {}
    for name in _METADATA[:1]:
        if root + name in archive.entries:
            facts[Path(name).stem] = _parsed(bytes(archive.view(root + name)), f"{archive.blob.where}!{root}{name}")
    return _as_bundle(open_blob(archive.part(found)), archive.blob.where, facts)


def _as_bundle(content: FileContent, where: str, facts: Mapping[str, Any]) -> FileContent:
    return replace(content, where=where, format="monai bundle", facts={**facts, **content.facts})


def _folds(folder: Path) -> Iterator[tuple[str, Path]]:
    """Return the checkpoint of each fold of an nnU-Net result."""
    for fold in sorted(folder.glob("fold_*")):
        found = next((fold / name for name in _FOLD_FILES if (fold / name).is_file()), None)
        if found is not None:
            yield fold.name, found


def _nnunet(folder: Path, folds: Mapping[str, Path]) -> FileContent:
    """Open every fold; the first fold's places come first."""
    containers: dict[str, TensorFile] = {}
    facts: dict[str, Any] = {
        name: _json(folder / f"{name}.json") for name in ("plans", "dataset") if _has(folder, name)
    }
    refused: dict[str, None] = {}
    for fold, path in folds.items():
        content = open_file(path)
        containers.update({f"{fold}.{name}" if name else fold: each for name, each in content.containers.items()})
        facts[fold] = {key: value for key, value in content.facts.items() if key not in {"plans", "dataset_json"}}
        for name in ("plans", "dataset_json"):
            if name in content.facts:
                facts.setdefault(name.removesuffix("_json"), content.facts[name])
        refused.update(dict.fromkeys(content.refused))
    return FileContent(str(folder), "nnunet folder", containers, facts, tuple(refused))


def _has(folder: Path, name: str) -> bool:
    return (folder / f"{name}.json").is_file()


def _json(path: Path) -> Any:
    if path.stat().st_size > _MAX_JSON:
        raise PlanError(f"{path}: has more than {_MAX_JSON} bytes; expected a short description.")
    return _parsed(path.read_bytes(), str(path))


def _parsed(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{where}: not readable as JSON ({type(error).__name__}). Fetch it again.") from error
