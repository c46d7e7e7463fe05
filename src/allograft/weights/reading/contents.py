"""What a file or folder of weights holds: format, every place with tensors, what else it says, what was refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from allograft.core.errors import PlanError
from allograft.weights.reading.blob import Archive, Blob
from allograft.weights.reading.folders import open_folder, open_index, open_zip, shard_note
from allograft.weights.reading.opened import FileContent, open_file

__all__ = ["FileContent", "read_content"]


def read_content(path: Path) -> FileContent:
    """Open a file by its content, whatever its ending says, or a folder of weights; nothing of it is executed.

    Known are safetensors and their shards, `torch.save`'s three formats, TorchScript, plain pickles of tensors or
    arrays, numpy's archives, MONAI bundles (folder or zip) and nnU-Net's result folders.

    Raises:
        PlanError: not readable, truncated, of another format, unsafe, or without tensors; says which file and why.
    """
    if path.is_dir():
        return open_folder(path)
    if path.name.endswith(".index.json"):
        return open_index(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}). Check the path."
        raise PlanError(msg) from error
    content = open_zip(Archive(Blob.of(path))) if zipped else open_file(path)
    return replace(content, notes=(*content.notes, *shard_note(path)))
