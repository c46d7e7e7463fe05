"""dataset.json as nnU-Net and the Medical Segmentation Decathlon write it: reading, and what its labels say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allograft.core.errors import DataError

__all__ = ["in_order", "inside", "label_values", "peek", "read_dataset_json", "require_file"]


def peek(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where the file is none or holds something else; for guessing layouts."""
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def read_dataset_json(path: Path) -> dict[str, Any]:
    """Return the file's content.

    Raises:
        DataError: it cannot be read, or is no JSON object with labels.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read as JSON ({error}). Correct the file."
        raise DataError(msg) from error
    if not isinstance(data, dict) or not isinstance(data.get("labels"), dict):
        msg = f'{path}: has no "labels", so the masks mean nothing. Add labels: {{"background": 0, ...}}.'
        raise DataError(msg)
    return data


def label_values(labels: Mapping[str, Any], where: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the value of each label name, and notes.

    Takes {"liver": 1}, the older {"1": "liver"}, and nnU-Net's regions ({"whole tumor": [1, 2]}), whose
    single labels become classes.

    Raises:
        DataError: a label that is neither, two names of one value, or an ignore label.
    """
    if any(name.casefold() == "ignore" for name in (*labels, *map(str, labels.values()))):
        msg = f"{where}: has an ignore label, whose pixels may reach no loss and no score; that is not supported."
        raise DataError(msg)
    values: dict[str, int] = {}
    regions: dict[str, list[int]] = {}
    for name, value in labels.items():
        if isinstance(value, list) and all(isinstance(part, int) for part in value):
            regions[name] = value
        elif isinstance(value, str) and name.strip().isdigit():
            values[value] = int(name)
        elif str(value).strip().isdigit():
            values[name] = int(value)
        else:
            msg = f"{where}, labels: {name!r}: {value!r} is no label. Write name: value."
            raise DataError(msg)
    singles = {part for parts in regions.values() for part in parts} - set(values.values())
    alone = {parts[0]: name for name, parts in regions.items() if len(parts) == 1}
    values.update({alone.get(part, f"label {part}"): part for part in sorted(singles)})
    if len(set(values.values())) != len(values) or 0 not in values.values():
        msg = f"{where}, labels: {values} must have different values, one of them 0 for background. Correct them."
        raise DataError(msg)
    several = {name: parts for name, parts in regions.items() if len(parts) > 1}
    text = "; ".join(f"{name} = {' + '.join(map(str, parts))}" for name, parts in several.items())
    return values, (f"the data set defines regions ({text}); the classes here are their single labels",) if text else ()


def in_order(names: object) -> tuple[str, ...]:
    """Return the names of channels in order of their numbers ({"0": "T1", "1": "FLAIR"}); empty where there are none.

    >>> in_order({"1": "FLAIR", "0": "T1"})
    ('T1', 'FLAIR')
    """
    if not isinstance(names, Mapping) or not all(str(key).isdigit() for key in names):
        return ()
    return tuple(str(names[key]) for key in sorted(names, key=lambda key: int(str(key))))


def inside(root: Path, text: str, where: str) -> Path:
    """Return a path that a data set names, relative to its folder.

    Raises:
        DataError: it is not text.
    """
    if not isinstance(text, str) or not text:
        msg = f"{where}: expected a path, got {text!r}. Correct the file."
        raise DataError(msg)
    return root / text.removeprefix("./")


def require_file(path: Path, what: str, *, check: bool) -> Path:
    """Return `path`; refuse it where it is checked and not there.

    Raises:
        DataError: no such file.
    """
    if check and not path.exists():
        msg = f"{what}: no such file: {path}. Add it, or take the case out."
        raise DataError(msg)
    return path
