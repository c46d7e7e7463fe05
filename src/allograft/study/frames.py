"""Predictions to and from tables, with pseudonyms for cases and units. No torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from allograft.core.task import Task
from allograft.data.mask_scores import MaskScores
from allograft.data.predictions import Predictions
from allograft.metrics import metrics_for

__all__ = ["from_frame", "metric_rows", "to_frame"]

ALL = "*"
"""What the results table writes for the case of a metric that belongs to the whole test set."""


def to_frame(p: Predictions, names: Mapping[str, str], domains: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return one row per case: case, unit, domain where one is given, target(s), logits z0.. and probabilities p0...

    Args:
        p: predictions.
        names: pseudonym of every id and group.
        domains: scanner, site, protocol or modality of every id, under a shift; None or empty elsewhere.
    """
    columns: dict[str, object] = {"case": [names[i] for i in p.ids], "unit": [names[g] for g in p.groups]}
    if domains:
        columns["domain"] = [domains[i] for i in p.ids]
    if p.masks is not None:
        return pd.DataFrame(columns | _mask_columns(p.masks))
    targets = p.targets[:, None] if p.targets.ndim == 1 else p.targets
    for prefix, values in (("t", targets), ("z", p.logits), ("p", p.probabilities)):
        columns |= {f"{prefix}{i}": values[:, i] for i in range(values.shape[1])}
    return pd.DataFrame(columns)


def from_frame(frame: pd.DataFrame, task: Task) -> Predictions:
    """Return the predictions that `to_frame` wrote, under pseudonyms; domains are not part of them."""
    if task.kind == "segmentation":
        return Predictions.of_masks(task, tuple(frame["case"]), tuple(frame["unit"]), _masks(frame))

    def block(prefix: str) -> np.ndarray:
        names = [name for name in frame.columns if name[0] == prefix and name[1:].isdigit()]
        return frame[names].to_numpy()

    targets = block("t").astype(np.int64)
    return Predictions(
        task=task,
        ids=tuple(frame["case"]),
        groups=tuple(frame["unit"]),
        logits=block("z").astype(np.float32),
        probabilities=block("p").astype(np.float64),
        targets=targets if task.kind == "multilabel" else targets[:, 0],
    )


def _mask_columns(masks: MaskScores) -> dict[str, object]:
    """Return a column per class of each table, "dice|liver", "truth|liver", ..."""
    tables = {"truth": masks.truth, "predicted": masks.predicted, **masks.values}
    return {f"{name}|{each}": table[:, i] for name, table in tables.items() for i, each in enumerate(masks.classes)}


def _masks(frame: pd.DataFrame) -> MaskScores:
    """Return the scores that `_mask_columns` spread over columns."""
    pairs = [name.split("|", 1) for name in frame.columns if "|" in name]
    classes = tuple(dict.fromkeys(each for _, each in pairs))
    tables = {
        name: frame[[f"{name}|{each}" for each in classes]].to_numpy() for name in dict.fromkeys(n for n, _ in pairs)
    }
    counts = {name: tables.pop(name).astype(np.int64) for name in ("truth", "predicted")}
    values = {name: table.astype(np.float64) for name, table in tables.items()}
    return MaskScores(classes=classes, values=values, predicted=counts["predicted"], truth=counts["truth"])


def metric_rows(p: Predictions, names: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return a row per case and metric, and the metrics of the whole set.

    Set-level metrics that are no mean of cases have one row whose case is "*".
    """
    parts, scores = [], {}
    for name, metric in metrics_for(p.task.kind).items():
        cases = metric.cases(p)
        scores[name] = metric.value(p)
        rows: dict[str, object] = {"case": [ALL], "unit": [ALL], "metric": name, "value": [scores[name]]}
        if cases is not None:
            rows = {
                "case": [names[i] for i in p.ids],
                "unit": [names[g] for g in p.groups],
                "metric": name,
                "value": cases,
            }
        parts.append(pd.DataFrame(rows))
        if p.masks is not None:
            parts += [
                pd.DataFrame({**rows, "metric": f"{name}|{each}", "value": p.masks.values[name][:, i]})
                for i, each in enumerate(p.masks.classes)
            ]
    return pd.concat(parts, ignore_index=True), scores
