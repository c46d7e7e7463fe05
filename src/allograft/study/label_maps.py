"""Label maps of test cases, kept with a run: what the report shows and the viewer opens. No torch."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.atomic import write_bytes
from allograft.core.errors import DataError

__all__ = ["LABELS", "read_labels", "write_labels"]

LABELS = "labels"
"""Folder of a run: one file a case, by its pseudonym."""


def write_labels(path: Path, labels: npt.NDArray[Any]) -> None:
    """Write classes (*S) in the smallest type that holds them, compressed."""
    small = labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, labels=small)
    write_bytes(path, buffer.getvalue())


def read_labels(path: Path) -> npt.NDArray[Any]:
    """Return the classes (*S) of a case.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file["labels"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path}: no readable label map ({type(error).__name__}). Was the run made by an older version?"
        raise DataError(msg) from error
