"""Judged: estimates and comparisons as a summary keeps them. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allograft.metrics.judgement import Judgement
from allograft.metrics.metric import Metric
from allograft.stats.across_seeds import paired_seeds
from allograft.stats.verdict import Comparison
from allograft.study.judge import Cell, seed_values
from allograft.study.summary import Estimate, Pair

__all__ = ["estimate_of", "pair_of", "plain_pair"]


def estimate_of(judged: Judgement, recipe: str) -> Estimate:
    """Return one recipe's mean with its interval; what is not finite is None."""
    found = next(one for one in judged.estimates if one.name == recipe)
    mean, low, high = (v if np.isfinite(v) else None for v in (found.mean, found.ci.low, found.ci.high))
    return Estimate(mean=mean, low=low, high=high, n_units=found.n_units, method=found.ci.method)


def pair_of(c: Comparison, cells: Sequence[Cell], metric: Metric) -> Pair:
    """Return a comparison as the summary keeps it, with the test over seeds beside it."""
    a, b = (list(seed_values(cells, metric, name).values()) for name in (c.a, c.b))
    finite = len(a) > 1 and np.isfinite([*a, *b]).all()
    over_seeds = paired_seeds(np.array(a), np.array(b)).p if finite else float("nan")
    return plain_pair(c).model_copy(update={"p_seeds": over_seeds if np.isfinite(over_seeds) else None})


def plain_pair(c: Comparison) -> Pair:
    """Return a comparison as the summary keeps it."""
    row = c.as_row()
    fields = ("a", "b", "difference", "test", "unit", "n_units", "p", "p_adjusted", "verdict", "margin", "sentence")
    return Pair(
        **{name: row[name] for name in fields},
        ci=None if None in row["ci"] else tuple(row["ci"]),
        units_needed=row["units_needed"],
    )
