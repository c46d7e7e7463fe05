"""Pretext stage: how training without labels went on held-out images, as data for reports. No torch."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from allograft.core.config import Config
from allograft.core.errors import DataError
from allograft.study.compared import Estimate

__all__ = ["COLLAPSED", "PICTURES", "Line", "PretextStage", "Told", "read_pictures"]

PICTURES = "pretext.npz"
"""In a run's folder: what its pretext task did to a few held-out images."""
COLLAPSED = 0.05
"""Spread of features below which they count as collapsed (ours): networks before training had 0.11 to 0.25, and where
features were pulled to a constant, views ceased to find each other about here."""

Told = Literal["learnt", "better than chance", "not shown", "cannot tell"]
"""Whether a pretext task was learnt: better than chance and than before the first step; better than chance only;
neither shown; too few folds to tell, or nothing to be told."""
Pictures = Mapping[str, npt.NDArray[np.float32]]


class Line(Config):
    """A number over steps: the mean over the runs that have it, and their middle 80 %.

    Args:
        x: steps done; 0 is before the first.
        mean, low, high: at each.
        runs: how many.
    """

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    runs: int


class PretextStage(Config):
    """The stage of a recipe that reads no labels, over its runs on one data set.

    Args:
        dataset, recipe, stage: which.
        task: name of what it learns.
        runs: finished ones, of all folds, seeds and shares of the labels.
        folds: how many test folds these are of; held-out images of two folds are other images.
        lines: by their name in the log, the numbers of held-out images.
        measure: what tells whether the task is learnt: "accuracy" of its own answers, "restored" (the share of the
            loss of a trivial guess that it saves), "retrieval" (views of an image that find each other), "" for none.
        score: the measure less what chance gives (nothing saved: 0), after the last step; over folds.
        gain: the measure after the last step less that before the first, over folds; None where nobody looked before.
        told: what these say.
        collapsed: runs whose features ended up alike.
        moved: change of "knn" and "probe" from the first to the last look, over folds.
        sentences: the same in words.
        pictures: file of what the task did to a few held-out images, of one run.
    """

    dataset: str
    recipe: str
    stage: str
    task: str
    runs: int
    folds: int
    lines: Mapping[str, Line]
    measure: Literal["accuracy", "restored", "retrieval", ""]
    score: Estimate | None = None
    gain: Estimate | None = None
    told: Told
    collapsed: int = 0
    moved: Mapping[str, Estimate] = {}
    sentences: tuple[str, ...] = ()
    pictures: Path | None = None

    def last(self, name: str) -> float | None:
        """Return the mean over runs of a number after the last step, None where it was not measured."""
        return self.lines[name].mean[-1] if name in self.lines else None


def read_pictures(path: Path) -> Pictures:
    """Return what a pretext task did to images: (N, H, W) by what is shown, in the order to stand side by side.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], dtype=np.float32) for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path}: no readable pictures of a pretext task ({type(error).__name__}). Was the file cut off?"
        raise DataError(msg) from error
