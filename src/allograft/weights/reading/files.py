"""Tensor files: the tensors of one container of a file or folder, opened without running anything it holds."""

from __future__ import annotations

from pathlib import Path

from allograft.core.errors import PlanError
from allograft.weights.reading.contents import FileContent, read_content
from allograft.weights.reading.tensors import MemoryTensors, SafetensorsFile, TensorFile

__all__ = ["MemoryTensors", "SafetensorsFile", "TensorFile", "open_tensors", "tensors_at"]


def open_tensors(path: Path, container: str = "") -> TensorFile:
    """Open a file by its content, whatever its ending says, or a folder.

    Args:
        path: what `weights.contents.read_content` opens.
        container: dotted path to the tensors in a nested checkpoint, "" for the top.

    Raises:
        PlanError: not readable, truncated, of another format, unsafe, or without tensors there.
    """
    return tensors_at(read_content(path), container)


def tensors_at(content: FileContent, container: str = "") -> TensorFile:
    """Return the tensors of one container.

    Raises:
        PlanError: it is not in the file; says where tensors are.
    """
    if container in content.containers:
        return content.containers[container]
    if content.format.startswith("safetensors"):
        msg = f'{content.where}: a safetensors file is flat, the card names container "{container}". Empty that field.'
        raise PlanError(msg)
    if container:
        holds = ", ".join(list(dict.fromkeys((*content.facts, *content.containers)))[:8])
        msg = f'{content.where}: the card\'s container "{container}" is not in the file; it holds: {holds}.'
        raise PlanError(msg)
    best = next(iter(content.containers))
    msg = (
        f'{content.where}: no tensors at the top. They seem to lie under "{best}": write container: {best} in the card.'
    )
    raise PlanError(msg)
