"""Judge: recipes compared on the same independent units, from raw predictions. No torch.

The statistics are `metrics.judgement.judge`'s. What a study adds is folds: scores of different
networks share no scale, so a metric of a set is taken fold by fold and averaged, weighted by cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from allograft.core.seeds import seed_for
from allograft.data.mask_scores import MaskScores
from allograft.data.predictions import Predictions
from allograft.metrics.judgement import Arm, Judgement, judge, take
from allograft.metrics.mask_mean import settled
from allograft.metrics.metric import Array, Metric

__all__ = ["Cell", "FoldWise", "arms_of", "judge_recipes", "seed_values"]


@dataclass(frozen=True)
class Cell:
    """The test predictions of one recipe with one seed: every fold's, each case once."""

    recipe: str
    seed: int
    folds: tuple[Predictions, ...]

    def joined(self) -> Predictions:
        """Return all folds as one set, in the order of folds."""
        first = self.folds[0]
        masks = [fold.masks for fold in self.folds if fold.masks is not None]
        return replace(
            first,
            ids=tuple(name for fold in self.folds for name in fold.ids),
            groups=tuple(name for fold in self.folds for name in fold.groups),
            logits=np.concatenate([fold.logits for fold in self.folds]),
            probabilities=np.concatenate([fold.probabilities for fold in self.folds]),
            targets=np.concatenate([fold.targets for fold in self.folds]),
            masks=MaskScores.join(masks) if masks else None,
        )


class FoldWise:
    """A metric taken fold by fold.

    Args:
        metric: the metric.
        fold_of: by case, the number of its fold.
    """

    def __init__(self, metric: Metric, fold_of: Mapping[str, int]) -> None:
        self._metric, self._fold_of = metric, fold_of
        self.name, self.title, self.kinds = metric.name, metric.title, metric.kinds
        self.larger_is_better, self.margin = metric.larger_is_better, metric.margin
        self.low, self.high = metric.low, metric.high

    def value(self, p: Predictions) -> float:
        """Return the mean over folds, weighted by cases; NaN where the metric has no value in a fold."""
        number = np.array([self._fold_of[name] for name in p.ids])
        parts = [np.flatnonzero(number == k) for k in np.unique(number)]
        if len(parts) == 1:
            return self._metric.value(p)
        return float(np.average([self._metric.value(take(p, part)) for part in parts], weights=[len(x) for x in parts]))

    def cases(self, p: Predictions) -> Array | None:
        """Return the per-case values, which know no folds."""
        return self._metric.cases(p)

    def per_class(self, p: Predictions) -> dict[str, float]:
        """Return one value per class over all folds."""
        return self._metric.per_class(p)


def judge_recipes(
    cells: Sequence[Cell], metric: Metric, *, unit: str, margin: float | None = None, pairs: bool = True
) -> Judgement:
    """Estimate every recipe and compare every pair.

    Args:
        cells: recipe by seed; every recipe has the same seeds, folds and cases.
        metric: what is judged.
        unit: what an independent unit is.
        margin: smallest difference that matters; None takes the metric's own.
        pairs: whether to compare; False estimates only.
    """
    whole, arms = arms_of(cells, metric)
    return judge(whole, arms, unit=unit, margin=margin, pairs=pairs, seed=seed_for("judge", metric.name) % 2**32)


def arms_of(cells: Sequence[Cell], metric: Metric) -> tuple[Metric, list[Arm]]:
    """Return the metric, fold by fold, and every recipe with its seeds, settled against each other."""
    ordered = sorted(cells, key=lambda cell: cell.seed)
    runs = settled([cell.joined() for cell in ordered], metric)
    by_recipe: dict[str, list[Predictions]] = {cell.recipe: [] for cell in cells}
    for cell, run in zip(ordered, runs, strict=True):
        by_recipe[cell.recipe].append(run)
    arms = [Arm(name=name, predictions=tuple(found)) for name, found in by_recipe.items()]
    return metric if len(cells[0].folds) == 1 else _fold_wise(metric, cells[0]), arms


def seed_values(cells: Sequence[Cell], metric: Metric, recipe: str) -> dict[int, float]:
    """Return the metric of each seed of a recipe, fold by fold."""
    mine = sorted((cell for cell in cells if cell.recipe == recipe), key=lambda cell: cell.seed)
    return {cell.seed: _fold_wise(metric, cell).value(cell.joined()) for cell in mine}


def _fold_wise(metric: Metric, cell: Cell) -> Metric:
    """Return the metric by the folds of a cell; its facts are instance attributes, which a protocol cannot say."""
    return cast("Metric", FoldWise(metric, {name: k for k, fold in enumerate(cell.folds) for name in fold.ids}))
