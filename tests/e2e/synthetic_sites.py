"""Synthetic cases of two sites on disk: the same patients at both, with a class and a mask; site B looks otherwise."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

__all__ = ["SITES", "synthetic_sites"]

SITES = ("siteA", "siteB")


def _scene(rng: np.random.Generator, shape: tuple[int, ...], label: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image in [0, 1] with a bright ellipsoid (1), flat for label 0, a dark one (2), and its labels."""
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"))
    labels = np.zeros(shape, np.uint8)
    for value, lower in ((1, 0.15), (2, 0.6)):
        centre = rng.uniform(lower, lower + 0.2, (len(shape), *[1] * len(shape)))
        stretch = np.ones((len(shape), *[1] * len(shape)))
        stretch[0] = 4.0 if value == 1 and label == 0 else 1.0
        labels[(stretch * (grid - centre) ** 2).sum(0) < rng.uniform(0.03, 0.05)] = value
    return 0.5 + 0.25 * (labels == 1) - 0.25 * (labels == 2), labels


def _seen(rng: np.random.Generator, scene: np.ndarray, site: str) -> np.ndarray:
    """Return how a site shows a scene: site B darker, inverted in part and noisier."""
    image = scene if site == "siteA" else (1 - scene) ** 2
    return np.clip(255 * (image + rng.normal(0, 0.04 if site == "siteA" else 0.08, scene.shape)), 0, 255)


def synthetic_sites(folder: Path, *, dims: int, patients: int = 9, seed: int = 0, paired: bool = True) -> Path:
    """Write one image a patient and site with its class and mask; return the table.

    Args:
        folder: new.
        dims: 2 for PNG, 3 for NIfTI.
        patients: at each site.
        seed: of the scenes.
        paired: the same patients at both sites, in the same pose; else others.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,mask,label,patient_id,site"]
    shape = (16, 18, 17) if dims == 3 else (36, 34)
    scenes = [_scene(rng, shape, number % 2) for number in range(patients * (1 if paired else 2))]
    for place, site in enumerate(SITES):
        for number in range(patients):
            who = number if paired else place * patients + number
            scene, labels = scenes[who]
            name, end = f"Mustermann{who}-{site}", "nii.gz" if dims == 3 else "png"
            for part, array in (("img", np.rint(_seen(rng, scene, site)).astype(np.uint8)), ("seg", labels)):
                if dims == 3:
                    nibabel.save(nibabel.Nifti1Image(array.T.copy(), np.eye(4)), folder / f"{name}-{part}.{end}")
                else:
                    Image.fromarray(array).save(folder / f"{name}-{part}.{end}")
            label = ("flat", "round")[who % 2]
            rows.append(f"{name}-img.{end},{name}-seg.{end},{label},Mustermann{who},{site}")
    table = folder / "sites.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table
