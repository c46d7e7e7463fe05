"""Examples: best, median and worst test case of the leading recipe, and the baseline's of the same. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allograft.data.predictions import Predictions
from allograft.metrics.metric import Metric
from allograft.study.judge import Cell
from allograft.study.outcome import RunKey
from allograft.study.slices import SLICES
from allograft.study.store import RunStore
from allograft.study.summary import Example, Seen

__all__ = ["examples"]

WHICH = ("best", "median", "worst")


class _Judged(NamedTuple):
    """A test case of one run."""

    key: RunKey
    row: int
    predictions: Predictions
    value: float


def examples(
    store: RunStore, keys: Sequence[RunKey], cells: Sequence[Cell], recipes: Sequence[str], metric: Metric
) -> tuple[Example, ...]:
    """Return the cases to show, none for tasks without masks or for runs that kept no slices.

    Cases are ranked by the primary metric with the lowest seed, whose pictures are shown; of an even
    number the median is the better of the two middle ones.

    Args:
        store: of the study.
        keys: runs of one data set and label fraction.
        cells: their predictions, folds in the order of their numbers.
        recipes: the leading one first, then what stands beside it.
        metric: the primary metric.
    """
    seed = min(cell.seed for cell in cells)
    judged = {name: _cases(keys, cells, name, seed, metric) for name in recipes}
    lead = judged[recipes[0]]
    worth = {case: one.value for case, one in lead.items() if np.isfinite(one.value)}
    order = sorted(worth, key=lambda case: (-worth[case] if metric.larger_is_better else worth[case], case))
    if not order or not all(_file(store, lead[case], case).exists() for case in order):
        return ()
    places = dict.fromkeys((0, (len(order) - 1) // 2, len(order) - 1))
    names = dict(zip(places, WHICH if len(places) == 3 else ("best", "worst"), strict=False))
    return tuple(
        Example(
            which=names[at],
            case=order[at],
            seen=tuple(_seen(store, name, judged[name][order[at]], order[at]) for name in recipes),
        )
        for at in places
    )


def _cases(
    keys: Sequence[RunKey], cells: Sequence[Cell], recipe: str, seed: int, metric: Metric
) -> Mapping[str, _Judged]:
    """Return the test cases of one recipe and seed by pseudonym."""
    runs = sorted((k for k in keys if (k.recipe, k.seed) == (recipe, seed)), key=lambda key: key.fold)
    cell = next(cell for cell in cells if (cell.recipe, cell.seed) == (recipe, seed))
    found: dict[str, _Judged] = {}
    for key, fold in zip(runs, cell.folds, strict=True):
        values = metric.cases(fold)
        if fold.masks is not None and values is not None:
            found |= {name: _Judged(key, i, fold, float(values[i])) for i, name in enumerate(fold.ids)}
    return found


def _seen(store: RunStore, recipe: str, one: _Judged, case: str) -> Seen:
    masks = one.predictions.masks
    assert masks is not None, "cases without masks are left out before"
    scores = zip(masks.classes, masks.values["dice"][one.row], strict=True)
    return Seen(
        recipe=recipe,
        run=one.key.id,
        seed=one.key.seed,
        value=one.value if np.isfinite(one.value) else None,
        dice={name: float(value) for name, value in scores if np.isfinite(value)},
        slice=_file(store, one, case),
    )


def _file(store: RunStore, one: _Judged, case: str) -> Path:
    return store.run_folder(one.key.id) / SLICES / f"{case}.npz"
