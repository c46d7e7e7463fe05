"""Label need: how many labels a recipe that asks for them took to reach a score, as data for reports. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from allograft.core.config import Config

__all__ = ["AskedRound", "LabelNeed", "LearningCurve", "Need", "Saving"]


class LearningCurve(Config):
    """Test score against labels: the mean over seeds, with its 95 % interval where there are two seeds or more.

    Args:
        recipe: the recipe.
        x: labelled cases.
        mean, low, high: the primary metric at each; all three alike with one seed.
        by_seed: of each seed, averaged over folds.
    """

    recipe: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    by_seed: Mapping[str, tuple[float, ...]]


class Need(Config):
    """Labels that a recipe needed.

    Args:
        recipe: the recipe.
        acquisition: what asked for labels.
        labels: Kaplan-Meier median over seeds, None where too few seeds reached the target.
        at_least: what the median exceeds where it is None, else equal to it.
        by_seed: labels of each seed, None where it never reached the target.
        last: most labels that were tried.
    """

    recipe: str
    acquisition: str
    labels: float | None
    at_least: float
    by_seed: Mapping[str, int | None]
    last: int


class Saving(Config):
    """Fewer labels than another recipe needed, in percent, over paired seeds; below 0: more.

    Args:
        recipe, against: the two.
        percent: 1 less the geometric mean of the seeds' ratios; None where unknown.
        low, high: 95 % interval over seeds, None with fewer than two or where either is censored in a seed.
        bound: "equal"; "at least" or "at most" where one of the two never reached the target in some seed.
        seeds: pairs that were used.
        of: pairs in all.
    """

    recipe: str
    against: str
    percent: float | None
    low: float | None
    high: float | None
    bound: Literal["equal", "at least", "at most", "unknown"]
    seeds: int
    of: int


class AskedRound(Config):
    """What a recipe asked for in one round, averaged over runs.

    Args:
        recipe: the recipe.
        labels: labelled cases after it.
        asked: cases that it asked for.
        entropy: mean entropy of these before they were labelled, in bits.
        entropy_of_all: the same of all unlabelled cases.
        classes: share of each class among the new labels; empty but for classes.
    """

    recipe: str
    labels: float
    asked: float
    entropy: float
    entropy_of_all: float
    classes: Mapping[str, float]


class LabelNeed(Config):
    """One data set from one number of labels on.

    Args:
        dataset, label_fraction: where recipes began.
        target: score to reach.
        rule: where the target comes from.
        curves: by recipe.
        needs: by recipe.
        savings: against random and entropy, where they are there.
        rounds: what was asked for, by recipe and round.
    """

    dataset: str
    label_fraction: float
    target: float
    rule: str
    curves: tuple[LearningCurve, ...]
    needs: tuple[Need, ...]
    savings: tuple[Saving, ...]
    rounds: tuple[AskedRound, ...] = ()
