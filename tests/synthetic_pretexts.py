"""Made-up stages without labels, with everything that a report shows of them: no number was ever measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from allograft.study.outcome import RunKey
from allograft.study.pretext_stage import PICTURES, PretextStage
from allograft.study.pretexts import read_pretexts
from allograft.study.store import RunStore

__all__ = ["PRETEXTS", "synthetic_pretexts"]

PRETEXTS = {"imagenet": "rotation", "mean-var": "simclr", "lowest-2": "simsiam", "scratch": "masked_autoencoder"}
"""Task by recipe of the made-up study."""
SHOWN = {
    "rotation": ("image", "turned"),
    "simclr": ("one view", "other view"),
    "simsiam": ("one view", "other view"),
    "masked_autoencoder": ("image", "seen", "restored"),
}


def synthetic_pretexts(folder: Path, *, folds: int = 3, side: int = 48) -> tuple[PretextStage, ...]:
    """Write made-up runs of a learnt, a half learnt, a collapsed and a restoring task, and read them."""
    keys = list[RunKey]()
    for recipe, task in PRETEXTS.items():
        for fold in range(folds):
            key = RunKey(id=f"{recipe}-{fold}", recipe=recipe, dataset="skin", fold=fold, seed=0, label_fraction=1.0)
            rng, where = np.random.default_rng([len(keys), fold]), folder / "runs" / key.id
            where.mkdir(parents=True)
            began, *rows = (_row(task, step / 300, rng) for step in (0, 75, 150, 225, 300))
            seen = [{"step": 75 * (i + 1), "validation": row} for i, row in enumerate(rows)]
            stage = {"stage": "pretext", "objective": task, "began": began, "history": {"rows": seen}}
            (where / "stages.json").write_text(json.dumps([stage]))
            shown = {name: _images(rng, side) for name in SHOWN[task]}
            np.savez_compressed(where / PICTURES, **shown)
            keys.append(key)
    return read_pretexts(RunStore(folder), keys)


def _row(task: str, t: float, rng: np.random.Generator) -> dict[str, float]:
    """What is seen after the share t of the steps."""
    rise = 1 - np.exp(-4 * t)
    noise = float(rng.normal(0, 0.01))
    falls = task == "simsiam"
    row = {
        "held_out_loss": 1.5 - 0.9 * rise + noise,
        "spread": 0.004 + 0.2 * (1 - rise) if falls else 0.2 + 0.3 * rise + noise,
        "uniformity": -1 - rise,
        "knn": 0.5 + (-0.1 if falls else 0.2) * rise + noise,
        "probe": 0.55 + (-0.1 if falls else 0.25) * rise + noise,
    }
    if task == "rotation":
        return row | {"held_out_accuracy": 0.25 + 0.55 * rise + noise, "held_out_chance": 0.25}
    if task == "masked_autoencoder":
        return row | {"held_out_mean_guess": 1.0}
    found = {"retrieval": 0.6 - 0.55 * rise + noise if falls else 0.6 + 0.2 * rise + noise, "retrieval_chance": 1 / 95}
    row |= found | {"alignment": 0.4 - 0.3 * rise}
    return row | ({} if falls else {"held_out_accuracy": 0.7 + noise, "held_out_chance": 1 / 31})


def _images(rng: np.random.Generator, side: int) -> np.ndarray:
    """Four made-up images: blobs with noise."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    return np.stack(
        [
            np.exp(-20 * ((y - a) ** 2 + (x - b) ** 2)) + rng.normal(0, 0.05, (side, side))
            for a, b in rng.uniform(-0.3, 0.3, (4, 2))
        ]
    ).astype(np.float32)
