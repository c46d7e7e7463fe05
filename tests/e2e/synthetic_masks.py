"""Synthetic segmentation data on disk: NIfTI volumes and PNG pictures with masks, one scan a patient."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

__all__ = ["synthetic_pictures_with_masks", "synthetic_volumes_with_masks"]


def _scene(rng: np.random.Generator, shape: tuple[int, ...], contrast: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with a bright ellipsoid (1) and a dark one (2) in noise, and its labels."""
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"))
    labels = np.zeros(shape, np.uint8)
    for value, lower in ((1, 0.15), (2, 0.6)):
        centre = rng.uniform(lower, lower + 0.2, (len(shape), *[1] * len(shape)))
        labels[((grid - centre) ** 2).sum(0) < rng.uniform(0.03, 0.05)] = value
    image = 100 + rng.normal(0, 12, shape) + contrast * (labels == 1) - contrast * (labels == 2)
    return image, labels


def synthetic_volumes_with_masks(
    folder: Path, *, patients: int = 7, seed: int = 0, contrast: float = 60, prefix: str = "Mustermann"
) -> Path:
    """Write volumes of different size and spacing, stored with flipped axes, and their masks; return the table."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,mask,patient_id,scanner"]
    for number in range(patients):
        shape = (18 + number % 3, 36, 34 + 2 * (number % 2))
        image, labels = _scene(rng, shape, contrast)
        affine = np.diag([-1.0, 1.0, 2.0, 1.0])
        for name, array in (("img", image.astype(np.float32)), ("seg", labels)):
            nibabel.save(nibabel.Nifti1Image(array.T.copy(), affine), folder / f"{prefix}{number}-{name}.nii.gz")
        rows.append(f"{prefix}{number}-img.nii.gz,{prefix}{number}-seg.nii.gz,{prefix}{number},scanner{number % 2}")
    table = folder / "volumes.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def synthetic_pictures_with_masks(folder: Path, *, patients: int = 7, seed: int = 1) -> Path:
    """Write 8-bit pictures of different size and masks of 0, 1, 2; return the table."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,mask,patient_id"]
    for number in range(patients):
        image, labels = _scene(rng, (60 + 4 * number, 70), 60)
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / f"Mustermann{number}-img.png")
        Image.fromarray(labels).save(folder / f"Mustermann{number}-seg.png")
        rows.append(f"Mustermann{number}-img.png,Mustermann{number}-seg.png,Mustermann{number}")
    table = folder / "pictures.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table
