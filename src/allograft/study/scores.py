"""Scores: what sources promise before training, as data. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from allograft.core.config import Config

__all__ = ["AgreementRow", "DataScores", "Scores", "StartScore", "Value"]


class Value(Config):
    """One estimate; None where there is none, with the reason. `seconds` is what the arithmetic took."""

    value: float | None
    reason: str = ""
    seconds: float = 0.0


class StartScore(Config):
    """One start: every recipe that begins with the same encoder.

    Args:
        recipes: those recipes, in the study's order.
        start, source, encoder: in words; source None for random encoders.
        values: by estimator.
        ranks: by estimator, 1 is the most promising; equal values share a rank.
        seconds: what building the network and its features took; 0 where they were known.
    """

    recipes: tuple[str, ...]
    start: str
    source: str | None
    encoder: str
    values: Mapping[str, Value]
    ranks: Mapping[str, int] = Field(default_factory=dict)
    seconds: float = 0.0


class AgreementRow(Config):
    """How an estimate ranked the starts with finished runs, compared with what training found (see `Agreement`)."""

    weighted_tau: float | None
    interval: tuple[float, float] | None
    kendall: float | None
    regret: float
    sources: int
    warning: str


class DataScores(Config):
    """The starts of a study on one data set.

    Args:
        dataset: the data set.
        label_fraction: share of the training labels that were read.
        cases: how many training cases were looked at.
        units: of how many independent units.
        unit: what these are.
        starts: best first by the first estimator.
        truth: mean test score of the finished runs by recipe, direction as the metric's.
        agreement: by estimator; empty where nothing is finished.
        blind: whether no test case of any fold in use was among those looked at.
        notes: what a reader must know.
    """

    dataset: str
    label_fraction: float
    cases: int
    units: int
    unit: str
    starts: tuple[StartScore, ...]
    truth: Mapping[str, float] = Field(default_factory=dict)
    agreement: Mapping[str, AgreementRow] = Field(default_factory=dict)
    blind: bool = True
    notes: tuple[str, ...] = ()

    def start_of(self, recipe: str) -> StartScore:
        """Return the start of a recipe."""
        return next(start for start in self.starts if recipe in start.recipes)


class Scores(Config):
    """What `allograft score` found.

    Args:
        study: the study's name.
        by: the estimators, the one that ranks first.
        metric: the study's primary metric in words.
        tables: one for each data set.
    """

    study: str
    by: tuple[str, ...]
    metric: str
    tables: tuple[DataScores, ...]
