"""Unseen: how every recipe does on data that nothing of the study has looked at, and what it loses there. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from allograft.core.task import Task
from allograft.metrics.metric import Metric
from allograft.study.frames import from_frame
from allograft.study.judge import Cell, judge_recipes
from allograft.study.judged import estimate_of, pair_of
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore
from allograft.study.summary import Unseen

__all__ = ["judge_unseen"]


def judge_unseen(
    store: RunStore, keys: Sequence[RunKey], facts: Mapping[str, Any], metric: Metric, name: str
) -> Unseen:
    """Judge finished runs on one unseen data set.

    Every run predicts all of its cases, so a network of another fold counts like one of another seed.

    Args:
        store: of the study.
        keys: runs of one studied data set and label fraction.
        facts: of the study.
        metric: what is judged.
        name: of the unseen data set.
    """
    data = facts["data"][name]
    task = Task.model_validate(data["task"])
    networks = {pair: i for i, pair in enumerate(sorted({(key.seed, key.fold) for key in keys}))}
    cells = [
        Cell(key.recipe, networks[key.seed, key.fold], (from_frame(store.predictions(key.id, f"unseen-{name}"), task),))
        for key in keys
    ]
    judged = judge_recipes(cells, metric, unit=data["unit"], margin=facts["margin"])
    estimates = {one.name: estimate_of(judged, one.name) for one in judged.estimates}
    return Unseen(
        dataset=name,
        unit=data["unit"],
        n_units=len(set(cells[0].joined().groups)),
        estimates=estimates,
        pairs=tuple(pair_of(c, cells, metric) for c in judged.comparisons),
    )
