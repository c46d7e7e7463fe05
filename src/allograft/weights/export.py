"""Export: a source as a folder of two files, card and tensors; "run:DIR" is opened the same way."""

from __future__ import annotations

from pathlib import Path

import yaml
from safetensors.torch import save

from allograft.core.atomic import folder_aside, write_bytes, write_text
from allograft.core.errors import PlanError
from allograft.weights.card import WeightSource, read_card
from allograft.weights.source import SourceWeights, file_sha256

__all__ = ["CARD", "TENSORS", "open_folder", "save_folder", "write_source"]

CARD = "card.yaml"
TENSORS = "weights.safetensors"


def save_folder(source: SourceWeights, folder: Path) -> SourceWeights:
    """Write a source's mapped tensors and its card, with the file's hash, and return it opened from there.

    The new card needs no key map and no container. A folder that exists is kept as it is.

    Raises:
        PlanError: a tensor is not finite, or the folder exists and holds something else.
    """
    with folder_aside(folder) as aside:
        card = write_source(source, aside, place=folder)
    saved = open_folder(folder)
    if saved.card != card:
        msg = f"{folder} exists and holds other weights ({saved.card.name}). Choose another folder."
        raise PlanError(msg)
    return saved


def write_source(source: SourceWeights, folder: Path, *, place: Path) -> WeightSource:
    """Write a source's tensors and its card into a folder that is there, the card last; return the card.

    Args:
        source: opened or live.
        folder: where the files go.
        place: where the folder will lie, for the card's origin.

    Raises:
        PlanError: a tensor is not finite.
    """
    write_bytes(folder / TENSORS, save({key: source[key].contiguous() for key in source}))
    changes: dict[str, object] = {"sha256": file_sha256(folder / TENSORS), "origin": f"run:{place}", "get": ""}
    # What the source gives has our names and our order of axes already.
    changes |= {"key_map": (), "container": "", "kernel_axes": (), "layout": "torch"}
    card = source.card.model_copy(update=changes)
    write_text(folder / CARD, yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False))
    return card


def open_folder(folder: Path) -> SourceWeights:
    """Open what `save_folder` wrote; its hash is checked.

    Raises:
        ConfigError: the card cannot be read.
        PlanError: the tensors are not the card's.
    """
    return SourceWeights.open(read_card(folder / CARD), folder / TENSORS)
