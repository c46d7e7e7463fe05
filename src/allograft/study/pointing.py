"""Pointing: whether networks look where a mask is, by recipe, and recipes compared over independent units. No torch.

    share of heat inside = Σ heat · mask / Σ heat         pointing game: the hottest place lies inside the mask

The mean over seeds first, then inside each unit. A case counts for a recipe where its network's map has heat with every
seed, and for a pair of recipes where both have.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from allograft.core.atomic import write_text
from allograft.stats.intervals import mean_interval
from allograft.stats.paired import paired_evidence
from allograft.stats.units import paired_unit_means
from allograft.stats.verdict import Arms, compare, settle
from allograft.study.compared import Estimate
from allograft.study.judged import plain_pair
from allograft.study.outcome import RunKey
from allograft.study.pointed import Pointed, Pointing
from allograft.study.store import RunStore

__all__ = ["POINTED", "read_pointing", "write_pointed"]

POINTED = "pointing.json"
"""File of a run."""

Array = npt.NDArray[np.float64]


def write_pointed(folder: Path, rows: Sequence[Pointed]) -> None:
    """Write the test cases of a run."""
    write_text(folder / POINTED, json.dumps([row.model_dump(mode="json") for row in rows]))


def read_pointing(store: RunStore, keys: Sequence[RunKey], recipes: Sequence[str], unit: str) -> tuple[Pointing, ...]:
    """Return what runs of one data set and label fraction found, one for each kind of mask; none without masks.

    Args:
        store: of the study.
        keys: finished runs; seeds that some recipe has not finished on every fold are left out.
        recipes: in the order of the table.
        unit: what an independent unit is.
    """
    runs = Counter(key.seed for key in keys)
    found: dict[str, dict[str, list[Pointed]]] = defaultdict(lambda: defaultdict(list))
    for key in (key for key in keys if runs[key.seed] == max(runs.values())):
        path = store.run_folder(key.id) / POINTED
        for row in json.loads(path.read_text(encoding="utf-8")) if path.exists() else ():
            one = Pointed.model_validate(row)
            found[one.head][key.recipe].append(one)
    return tuple(_judged(head, rows, recipes, unit) for head, rows in found.items())


def _judged(head: str, rows: Mapping[str, Sequence[Pointed]], recipes: Sequence[str], unit: str) -> Pointing:
    names = [name for name in recipes if name in rows]
    every = {row.case: row for found in rows.values() for row in found}
    groups = [row.unit for row in every.values()]
    shares = {name: _by_case(rows[name], "share", every) for name in names}
    hits = {name: _by_case(rows[name], "hit", every) for name in names}
    area = np.array([row.area for row in every.values()])
    found = []
    for a, b in combinations(names, 2):
        both = paired_unit_means(shares[a], shares[b], groups)
        arms = Arms(a=a, b=b, metric=f"share of heat inside {head}")
        found.append(compare(paired_evidence(both.a, both.b), arms=arms, unit=unit, margin=float("nan")))
    return Pointing(
        head=head,
        unit=unit,
        n_units=len(set(groups)),
        n_cases=len(every),
        area=_mean(_unit_means(area, groups)),
        shares={name: _estimate(_unit_means(shares[name], groups)) for name in names},
        hits={name: _mean(_unit_means(hits[name], groups)) for name in names},
        without_heat={name: int(np.isnan(shares[name]).sum()) for name in names},
        pairs=tuple(plain_pair(one) for one in settle(found)),
        missing=tuple(name for name in recipes if name not in rows),
    )


def _by_case(rows: Sequence[Pointed], field: str, cases: Iterable[str]) -> Array:
    """Return the mean over seeds of each case, NaN where one of them has no heat."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        value = getattr(row, field)
        values[row.case].append(float("nan") if value is None else float(value))
    return np.array([np.mean(values[case]) if case in values else np.nan for case in cases])


def _unit_means(values: Array, groups: Sequence[str]) -> Array:
    return paired_unit_means(values, values, groups).a


def _estimate(means: Array) -> Estimate:
    if not len(means):
        return Estimate(mean=None)
    interval = mean_interval(means)
    low, high = (v if np.isfinite(v) else None for v in (interval.low, interval.high))
    return Estimate(
        mean=_mean(means),
        low=None if low is None else max(low, 0.0),
        high=None if high is None else min(high, 1.0),
        n_units=len(means),
        method=interval.method,
    )


def _mean(means: Array) -> float | None:
    return float(means.mean()) if len(means) else None
