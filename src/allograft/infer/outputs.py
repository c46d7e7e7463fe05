"""Outputs: which formats fit a task and its inputs, how files are called, and that nothing is overwritten."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from allograft.core.errors import ConfigError, DataError, did_you_mean
from allograft.core.private import pseudonym
from allograft.core.task import Task
from allograft.data.io.format import ENDINGS, ending_of, format_of
from allograft.infer.inputs import Input

__all__ = ["ABOUT", "ENDING_OF", "TABLE", "choose_formats", "is_dicom_input", "output_files", "require_free"]

TABLE, ABOUT = "predictions.csv", "about.json"

ENDING_OF: dict[str, str] = {
    "nifti": "_seg.nii.gz",
    "dicom-seg": "_seg.dcm",
    "png": "_seg.png",
    "dicom-sr": "_sr.dcm",
}
"""Ending of the file that each format writes for each input; "csv" is one table for all."""

_OF_TASK = {"segmentation": ("nifti", "dicom-seg", "png", "csv")}
_OTHERS = ("csv", "dicom-sr")
_DICOM = frozenset({"dicom", "zip"})
_PICTURES = frozenset({"raster", "tiff", "array", "dicom"})


def choose_formats(asked: Sequence[str], task: Task, items: Sequence[Input], *, dims: int) -> tuple[str, ...]:
    """Return the formats to write, each once; nothing is read but the first bytes of the inputs.

    Args:
        asked: names; empty takes csv for classes, and for masks png of pictures, nifti of others.
        task: what is predicted.
        items: the inputs; one that is missing or damaged is reported when its turn comes.
        dims: 2 or 3, of the networks.

    Raises:
        ConfigError: a name is unknown, or does not fit the task or an input; says what would fit.
    """
    offered = _OF_TASK.get(task.kind, _OTHERS)
    if not asked:
        masks = "png" if all("png" in _fitting(item, offered, dims) for item in items) else "nifti"
        return (masks,) if task.kind == "segmentation" else ("csv",)
    for name in asked:
        if name not in {*ENDING_OF, "csv"}:
            msg = f'--format "{name}": no such format. {did_you_mean(name, offered)}'
            raise ConfigError(msg)
        if name not in offered:
            msg = (
                f'--format "{name}": does not fit these networks, which answer a {task.kind} task. '
                f"Expected {_either(offered)}."
            )
            raise ConfigError(msg)
        for item in items:
            fitting = _fitting(item, offered, dims)
            if name not in fitting:
                msg = f'--format "{name}": does not fit {item.name}, {_why(name)}. Expected {_either(fitting)}.'
                raise ConfigError(msg)
    return tuple(dict.fromkeys(asked))


def is_dicom_input(item: Input) -> bool:
    """Tell whether an input is a DICOM file, the folder of a series, or the zip of one."""
    return _kind(item) in _DICOM


def output_files(items: Sequence[Input], formats: Sequence[str], *, salt: str | None = None) -> list[dict[str, str]]:
    """Return for each input the file name of each format, without its folder.

    Files are called as their inputs; inputs of one name get their folders' names before it, and
    numbers where that is not enough.

    Args:
        items: the inputs.
        formats: names; "csv" has no file of its own for an input.
        salt: calls files by salted hashes; None by the inputs' names.
    """
    given = [item.name for item in items]
    stems = _different([_parts(name) for name in given]) if salt is None else [pseudonym(n, salt) for n in given]
    twice: Counter[str] = Counter()
    out = []
    for stem in stems:
        twice[stem.casefold()] += 1
        number = twice[stem.casefold()]
        own = stem if number == 1 else f"{stem}-{number}"
        out.append({name: own + ENDING_OF[name] for name in formats if name in ENDING_OF})
    return out


def require_free(folder: Path, names: Sequence[str] = (), *, force: bool) -> tuple[str, ...]:
    """Refuse to write over what exists; called before the first image is read.

    With `force`, files that an earlier prediction wrote into this folder (its about.json lists them)
    are written over, others never.

    Args:
        folder: of the predictions.
        names: files to be written beside the table.
        force: whether earlier predictions may be written over.

    Returns:
        Files of earlier predictions that are still there.

    Raises:
        ConfigError: a file is there already.
    """
    earlier = _earlier(folder)
    for name in (TABLE, *names):
        path = folder / name
        if not path.exists():
            continue
        if not force:
            msg = f"{path}: exists already and is not overwritten. Choose another --out, or say --force."
            raise ConfigError(msg)
        if name != TABLE and name not in earlier:
            msg = f"{path}: exists already and is no earlier prediction, so not even --force overwrites it. Move it."
            raise ConfigError(msg)
    return tuple(name for name in earlier if (folder / name).exists())


def _earlier(folder: Path) -> tuple[str, ...]:
    """Return what an earlier prediction wrote into the folder."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return tuple(str(name) for name in about.get("outputs", ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return ()


def _kind(item: Input) -> str:
    """Return the reader of an input, "" where the file cannot be looked at."""
    try:
        return format_of(item.refs[0].path)
    except DataError:
        return ""


def _fitting(item: Input, offered: Sequence[str], dims: int) -> tuple[str, ...]:
    kind = _kind(item)
    if not kind:
        return tuple(offered)
    fits: Mapping[str, bool] = {
        "dicom-seg": kind in _DICOM,
        "dicom-sr": kind in _DICOM,
        "png": dims == 2 and kind in _PICTURES,
    }
    return tuple(name for name in offered if fits.get(name, True))


def _why(name: str) -> str:
    return "which is no picture" if name == "png" else "which is not DICOM and says no patient and no series"


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _parts(name: str) -> list[str]:
    """Return an input's own name and the folders around it, innermost first, fit for file names."""
    path = Path(name)
    path = path if path.name not in {"", ".."} else path.resolve()
    own = path.name[: -len(ending_of(path))] if ending_of(path) in ENDINGS else path.name
    around = [part for part in reversed(path.parent.parts) if part not in {path.anchor, ".", ".."}]
    return [re.sub(r"[^\w.\-]+", "-", part).strip("-.") or "image" for part in (own, *around)]


def _different(parts: Sequence[Sequence[str]]) -> list[str]:
    """Return each input's own name, with as many folders before it as tell it from the others, where any do."""
    keys = [tuple(part.casefold() for part in own) for own in parts]
    depth = dict.fromkeys(keys, 1)
    while True:
        count = Counter(key[:n] for key, n in depth.items())
        grow = [key for key, n in depth.items() if count[key[:n]] > 1 and n < len(key)]
        if not grow:
            return ["_".join(reversed(own[: depth[key]])) for own, key in zip(parts, keys, strict=True)]
        for key in grow:
            depth[key] += 1
