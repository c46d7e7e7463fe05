"""A tiny finished study on real pictures (scikit-image's retina and immunohistochemistry), made once per process."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from skimage import data

from allograft.study.conduct import conduct
from allograft.study.grid import study_from
from allograft.study.prepared import Launch

SIZE = 32


def pictures():
    """Return the two pictures by class, cut to one size."""
    return {"ihc": data.immunohistochemistry()[:512, :512], "retina": data.retina()[400:912, 400:912]}


def write_patches(folder: Path, count: int = 8, first: int = 0) -> Path:
    """Write PNG patches into folder/class/P00_class.png; the patient is the part before the underscore."""
    for name, picture in pictures().items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(first, first + count):
            row, column = divmod(k, 16)
            patch = picture[row * SIZE : (row + 1) * SIZE, column * SIZE : (column + 1) * SIZE]
            Image.fromarray(np.ascontiguousarray(patch)).save(folder / name / f"P{k:02d}{name[0]}_{name}.png")
    return folder


def study_data(**changes):
    """Return a tiny study as a file holds it; `pics` lies beside the file."""
    fields = {
        "study": "tiny",
        "baseline": "small",
        "datasets": [{"name": "pics", "path": "pics", "group_pattern": "^(P[0-9]+.)_"}],
        "preprocess": {"size": [SIZE, SIZE]},
        "folds": 3,
        "seeds": [0],
        "search": {"lrs": []},
        "augment": "none",
        "common": {"net": {"encoder": "cbr_tiny", "width": 0.25}, "budget": {"steps": 4, "batch": 8, "evals": 1}},
        "recipes": [{"name": "small", "start": "scratch"}, {"name": "frozen", "start": "scratch", "tuning": "frozen"}],
    }
    return {**fields, **changes}


def write_study(folder: Path, **changes) -> Path:
    """Write the study file."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study_data(**changes)))
    return path


def make_study(base: Path, **changes) -> Path:
    """Run the study in `base` in this process and return its folder."""
    write_study(base, **changes)
    conduct(study_from(study_data(**changes), where="test"), base / "out", launch=Launch(base=base, workers=1))
    return base / "out"


@functools.cache
def finished_study() -> Path:
    """Return the folder of a finished study; do not change it."""
    base = Path(tempfile.mkdtemp(prefix="allograft-tiny-study-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    write_patches(base / "pics")
    return make_study(base)
