"""Known images: whether an image is one of those that a study was made with, by its prepared pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from allograft.data.preprocess import Preprocess
from allograft.data.store_index import StoreIndex, checksum

__all__ = ["KnownImages"]


class KnownImages:
    """Checksums of every prepared image of a study, as its stores keep them.

    File names and formats do not matter: the same pixels after the same preparation are the same image.

    Args:
        study: the study's folder.
        preprocess: what is done to images.
    """

    def __init__(self, study: Path, preprocess: Preprocess) -> None:
        self.sums: set[str] = set()
        for path in sorted((study / "cache" / "images").glob("*/index.json")):
            try:
                index = StoreIndex.model_validate_json(path.read_text(encoding="utf-8"))
            except (OSError, ValidationError):
                continue  # an unreadable store makes its study build a new one; there is nothing to compare with
            if index.preprocess == preprocess:
                self.sums |= set(index.image_sums)

    def __len__(self) -> int:
        return len(self.sums)

    def has(self, image: npt.NDArray[np.float32]) -> bool:
        """Tell whether a prepared image (C, *S) is among them, in any of the types that stores use."""
        types = (image, image.astype(np.float16), np.rint(image * np.float32(255)).clip(0, 255).astype(np.uint8))
        exact = (True, True, bool(np.array_equal(types[2].astype(np.float32) / np.float32(255), image)))
        return any(ok and checksum(row) in self.sums for ok, row in zip(exact, types, strict=True))
