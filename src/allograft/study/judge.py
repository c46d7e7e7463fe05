"""Judge: recipes compared on the same independent units, from raw predictions. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from allograft.core.seeds import seed_for
from allograft.data.predictions import Predictions
from allograft.metrics.metric import Metric
from allograft.stats.bootstrap import ArmReplicates, cluster_replicates
from allograft.stats.delong import delong, delong_evidence
from allograft.stats.intervals import mean_interval
from allograft.stats.paired import compare_sets, compare_units
from allograft.stats.units import unit_index
from allograft.stats.verdict import MIN_UNITS, Arms, Comparison, compare, settle
from allograft.study.summary import Estimate

__all__ = ["Arena", "Cell", "compare_all", "select"]

Array = npt.NDArray[np.float64]
RESAMPLES = 1000
"""Draws where a metric has no value within one unit and whole units are resampled (ours)."""


@dataclass(frozen=True)
class Cell:
    """The test predictions of one recipe with one seed: every fold's, each case once."""

    recipe: str
    seed: int
    folds: tuple[Predictions, ...]


class Arena:
    """Recipes on the same cases, one metric.

    A value per unit is the metric on the unit's cases, averaged over seeds. Where the metric has no
    value in some unit (AUROC of one patient), whole units are resampled instead and the metric is
    taken fold by fold, because scores of different networks do not share a scale.

    Args:
        cells: recipe by seed; every recipe has the same seeds, folds and cases.
        metric: what is judged.
        unit: what an independent unit is.
    """

    def __init__(self, cells: Sequence[Cell], metric: Metric, unit: str) -> None:
        self.metric, self.unit = metric, unit
        self.recipes = tuple(dict.fromkeys(cell.recipe for cell in cells))
        self.by_recipe: Mapping[str, list[Cell]] = {
            name: sorted((c for c in cells if c.recipe == name), key=lambda c: c.seed) for name in self.recipes
        }
        self.groups = tuple(g for fold in self.by_recipe[self.recipes[0]][0].folds for g in fold.groups)
        self.units = unit_index(self.groups)[0]
        values = {name: self._by_unit(name) for name in self.recipes}
        self.values = values if self._fair_units() and all(np.isfinite(v).all() for v in values.values()) else None
        self._replicates: ArmReplicates | None = None

    def _fair_units(self) -> bool:
        """Whether the metric means the same in every unit: it is a mean of cases, or all classes occur in each."""
        folds = self.by_recipe[self.recipes[0]][0].folds
        if self.metric.cases(folds[0]) is not None:
            return True
        targets = np.concatenate([fold.targets for fold in folds])
        columns = targets[:, None] if targets.ndim == 1 else targets
        index = unit_index(self.groups)[1]
        kinds = [set(np.unique(column[column >= 0])) for column in columns.T]
        return all(
            set(np.unique(column[index == k])) >= kind
            for k in range(self.n_units)
            for column, kind in zip(columns.T, kinds, strict=True)
        )

    @property
    def n_units(self) -> int:
        """Number of independent units."""
        return len(self.units)

    def seed_values(self, recipe: str) -> dict[int, float]:
        """Return the metric of each seed: the mean over folds, weighted by cases."""
        return {cell.seed: self._on(cell, None) for cell in self.by_recipe[recipe]}

    def estimate(self, recipe: str) -> Estimate:
        """Return the recipe's mean over units with its interval."""
        if self.values is not None:
            values = self.values[recipe]
            interval = mean_interval(values) if len(values) > 1 else None
            low, high = (interval.low, interval.high) if interval else (None, None)
            mean, method = float(values.mean()), interval.method if interval else ""
        else:
            found = list(self.seed_values(recipe).values())
            mean, low, high, method = float(np.mean(found)), None, None, "resampled units, BCa"
            if self.n_units >= MIN_UNITS:
                low, high = self.replicates().arm(self.recipes.index(recipe)).interval()
        return Estimate(mean=_known(mean), low=_known(low), high=_known(high), n_units=self.n_units, method=method)

    def comparison(self, a: str, b: str, margin: float) -> Comparison:
        """Compare two recipes; `settle` the whole family afterwards."""
        arms = Arms(a=a, b=b, metric=self.metric.title, larger_is_better=self.metric.larger_is_better)
        if self.values is not None:
            seed = seed_for("bootstrap", self.metric.name) % 2**32
            return compare_units(self.values[a], self.values[b], unit=self.unit, margin=margin, arms=arms, seed=seed)
        if (found := self._delong(a, b, arms, margin)) is not None:
            return found
        i, j = self.recipes.index(a), self.recipes.index(b)
        return compare_sets(self.replicates().difference(i, j), unit=self.unit, margin=margin, arms=arms)

    def replicates(self) -> ArmReplicates:
        """Return all recipes on the same resampled units, made once."""
        if self._replicates is None:
            cells = [self.by_recipe[name] for name in self.recipes]

            def statistic(index: npt.NDArray[np.int64]) -> Array:
                return np.array([np.mean([self._on(cell, index) for cell in row]) for row in cells])

            seed = seed_for("cluster", self.metric.name) % 2**32
            self._replicates = cluster_replicates(statistic, self.groups, resamples=RESAMPLES, seed=seed)
        return self._replicates

    def _delong(self, a: str, b: str, arms: Arms, margin: float) -> Comparison | None:
        """DeLong's test, where it is valid: AUROC of a binary task, one fold, one seed, one case per unit."""
        one, two = self.by_recipe[a], self.by_recipe[b]
        single = len(one) == 1 and len(one[0].folds) == 1 and len(set(self.groups)) == len(self.groups)
        if self.metric.name != "auroc" or not single or one[0].folds[0].task.kind != "binary":
            return None
        p, q = one[0].folds[0], two[0].folds[0]
        found = delong(p.targets == 1, np.stack([p.probabilities[:, 1], q.probabilities[:, 1]]), p.groups)
        return compare(delong_evidence(found), arms=arms, unit=self.unit, margin=margin)

    def _by_unit(self, recipe: str) -> Array:
        """Return (n_units,) values, averaged over seeds; NaN where a unit has none."""
        index = unit_index(self.groups)[1]
        rows = [np.flatnonzero(index == k) for k in range(self.n_units)]
        table = [[self._on(cell, row) for row in rows] for cell in self.by_recipe[recipe]]
        return np.asarray(np.mean(table, axis=0), dtype=np.float64)

    def _on(self, cell: Cell, index: npt.NDArray[np.int64] | None) -> float:
        """Return the metric on some cases (all: None), fold by fold, weighted by cases; NaN where undefined."""
        total, count, begin = 0.0, 0, 0
        for fold in cell.folds:
            rows = (
                np.arange(len(fold)) if index is None else index[(index >= begin) & (index < begin + len(fold))] - begin
            )
            begin += len(fold)
            if len(rows):
                total += self.metric.value(select(fold, rows)) * len(rows)
                count += len(rows)
        return total / count if count else float("nan")


def compare_all(arena: Arena, margin: float) -> tuple[Comparison, ...]:
    """Compare every pair of recipes and correct the family by Holm."""
    return settle([arena.comparison(a, b, margin) for a, b in combinations(arena.recipes, 2)])


def select(p: Predictions, rows: npt.NDArray[np.int64]) -> Predictions:
    """Return the named rows, repeats included."""
    return replace(
        p,
        ids=tuple(p.ids[i] for i in rows),
        groups=tuple(p.groups[i] for i in rows),
        logits=p.logits[rows],
        probabilities=p.probabilities[rows],
        targets=p.targets[rows],
    )


def _known(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else value
