"""Score truth: whether estimates put starts in the order that finished runs found."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from allograft.core.seeds import seed_for
from allograft.stats.rank_agreement import rank_agreement
from allograft.study.outcome import Done
from allograft.study.prepared import Prepared
from allograft.study.scores import AgreementRow, DataScores, StartScore
from allograft.study.store import RunStore

__all__ = ["with_truth"]


def with_truth(prepared: Prepared, table: DataScores) -> DataScores:
    """Add the true scores of finished runs and how well each estimate ranked them.

    A start's truth is the best of its recipes, each averaged over the folds and seeds that every recipe with finished
    runs has finished, at the share of labels that was scored.
    """
    truth = _truth(prepared, table)
    if not truth:
        return table
    sign = 1.0 if prepared.metric.larger_is_better else -1.0
    known = [start for start in table.starts if any(recipe in truth for recipe in start.recipes)]
    estimators = list(known[0].values) if known else []
    agreement = {}
    for name in estimators:
        both = [(v, sign * _best(start, truth, sign)) for start in known if (v := start.values[name].value) is not None]
        if both:
            found = rank_agreement(*zip(*both, strict=True), seed=seed_for("agreement", name) % 2**32)
            agreement[name] = AgreementRow(**found._asdict())
    return table.model_copy(update={"truth": truth, "agreement": agreement})


def _best(start: StartScore, truth: dict[str, float], sign: float) -> float:
    """Return the true score of a start's best recipe."""
    return max((truth[recipe] for recipe in start.recipes if recipe in truth), key=lambda value: sign * value)


def _truth(prepared: Prepared, table: DataScores) -> dict[str, float]:
    """Return the mean primary metric of each recipe over the cells that all of them have finished."""
    store, metric = RunStore(prepared.folder), prepared.metric.name
    found: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
    for key in prepared.runs():
        if key.dataset != table.dataset or key.label_fraction != table.label_fraction:
            continue
        outcome = store.outcome(key.id)
        score = outcome.scores.get(metric) if isinstance(outcome, Done) else None
        if score is not None:
            found[key.recipe][key.fold, key.seed] = score
    shared = set.intersection(*(set(cells) for cells in found.values())) if found else set()
    return {recipe: float(np.mean([cells[at] for at in shared])) for recipe, cells in found.items()} if shared else {}
