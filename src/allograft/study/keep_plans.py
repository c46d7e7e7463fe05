"""Keep plans: what a run's stages were begun with and did, written for people who open its folder and for reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from allograft.core.atomic import write_text
from allograft.metrics import METRICS
from allograft.study.chain import PLAN_FILE, Step
from allograft.study.stage import StageRecord
from allograft.weights.table import coverage_line, stage_rows

__all__ = ["keep_plans"]


def keep_plans(folder: Path, records: Sequence[StageRecord]) -> None:
    """Write every stage's record and, for people, its plan by stage; the last stage's plan stands at the top.

    Args:
        folder: of the run.
        records: its stages in order, at least one.
    """
    write_text(folder / "stages.json", json.dumps([json.loads(record.model_dump_json()) for record in records]))
    steps = [_step(record) for record in records]
    last = steps[-1].model_dump(mode="json", include={"rows", "coverage", "notes", "unused"})
    whole = {**last, "stages": [step.model_dump(mode="json") for step in steps]}
    write_text(folder / PLAN_FILE, json.dumps(whole))


def _step(record: StageRecord) -> Step:
    """Return a stage without its tensors."""
    plan, judged = record.plan, _judged(record)
    return Step(
        stage=record.stage,
        data=record.data,
        steps=record.steps,
        lr=record.lr,
        metric=METRICS[judged].title if judged else "",
        validation=_value(record, judged),
        start=plan.start,
        tuning=plan.tuning,
        source=plan.source if any(entry.source is not None for entry in plan.entries) else None,
        coverage=coverage_line(plan),
        proof=record.proof,
        rows=tuple(stage_rows(plan)),
        notes=plan.notes,
        unused=len(plan.unused),
    )


def _judged(record: StageRecord) -> str:
    """Return the metric that validation was judged by: the first that is written down."""
    names = (name for row in record.history.rows for name in row.validation if name in METRICS)
    return next(names, "")


def _value(record: StageRecord, metric: str) -> float | None:
    """Return the metric of the weights that were handed on."""
    at = [row for row in record.history.rows if row.step == record.history.best_step and metric in row.validation]
    return float(at[-1].validation[metric]) if at and np.isfinite(at[-1].validation[metric]) else None
