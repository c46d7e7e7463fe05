"""Write predictions: a table that any program reads, and what must be known of it beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from allograft.core.atomic import write_text
from allograft.core.private import pseudonym
from allograft.core.task import Task
from allograft.infer.outputs import ABOUT, TABLE
from allograft.infer.predict import Predicted

__all__ = ["HIDDEN", "prediction_rows", "write_about", "write_predictions"]

HIDDEN = "this image could not be used; run again without --hide-ids to see why"


def prediction_rows(
    found: Sequence[Predicted], task: Task, networks: int, *, salt: str | None = None
) -> list[dict[str, Any]]:
    """Return a row for each image; numbers are None where there was an error.

    Args:
        found: predictions.
        task: what was predicted.
        networks: how many were averaged.
        salt: hides names behind salted hashes; None shows them.
    """
    rows: list[dict[str, Any]] = []
    for item in found:
        known = item.probabilities is not None
        shown = item.probabilities if item.probabilities is not None else [None] * len(task.classes)
        rows.append(
            {
                "file": item.name if salt is None else pseudonym(item.name, salt),
                **{f"p_{name}": _number(p) for name, p in zip(task.classes, shown, strict=True)},
                "predicted": item.label(task),
                "confidence": _number(item.confidence) if known else None,
                "entropy": _number(item.entropy(task)) if known else None,
                "networks": networks,
                "error": item.error if salt is None or not item.error else HIDDEN,
            }
        )
    return rows


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Write `about.json`; before the first label map, so that what was written can be told apart later."""
    write_text(folder / ABOUT, json.dumps(dict(about), indent=1) + "\n")


def write_predictions(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write `predictions.csv`, whole or not at all; return its path."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / TABLE, text.getvalue())
    return folder / TABLE


def _number(value: float | None) -> float | None:
    """Round to what single precision carries."""
    return None if value is None else float(f"{value:.7g}")
