"""DomainGap: what a shift between domains costs and what recipes recover of it, as a summary keeps it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from allograft.core.config import Config
from allograft.study.compared import Estimate

__all__ = ["Cost", "Domain", "LeftOut", "Mapped", "Recovered", "Shifted"]


class Cost(Config):
    """What source-only training loses where it is used, on other domains than those that it learnt from.

    Args:
        home: its score on the source's test cases.
        away: on the target's.
        lost: how much worse it is there, over units of both; its interval is None below 6 units on a side.
        p: two-sided p of `lost`, of this one question; None where none can be given.
    """

    home: Estimate
    away: Estimate
    lost: Estimate
    p: float | None = None


class Recovered(Config):
    """One recipe between source-only and target-supervised training, on the target's test cases.

    Args:
        recipe: its name.
        labels: whose labels it learnt from, in words.
        selection: what chose its weights and rates, in words.
        gain: how much better it is than source-only; below 0 it is worse.
        verdict: "better" or "worse" than source-only, or one of the other verdicts; after Holm's correction over the
            pairs of the table.
        p_adjusted: its p.
        share: the part of the gap that it recovers, None where no share is given; `low` and `high` its interval.
        sentence: all of it in words.
    """

    recipe: str
    labels: str
    selection: str
    gain: Estimate
    verdict: str
    p_adjusted: float | None = None
    share: float | None = None
    low: float | None = None
    high: float | None = None
    sentence: str = ""


class Domain(Config):
    """Every recipe on the test cases of one domain.

    Args:
        name: of the domain.
        side: "source" or "target".
        n_units, n_cases: how many were tested.
        estimates: by recipe; without an interval below 6 units.
    """

    name: str
    side: str
    n_units: int
    n_cases: int
    estimates: Mapping[str, Estimate]


class Mapped(Config):
    """The deepest features of one recipe's network, before and after training (see `study.feature_map`).

    Args:
        recipe, run: whose.
        file: the points, of source and target cases that nothing was trained on.
        told_before, told_after: balanced accuracy with which a linear classifier tells source from target on left-out
            units; 0.5 is chance, None where there are too few.
        mmd_before, mmd_after: squared MMD between source and target, unbiased, so that it may be below 0.
    """

    recipe: str
    run: str
    file: Path
    told_before: float | None = None
    told_after: float | None = None
    mmd_before: float | None = None
    mmd_after: float | None = None


class Shifted(Config):
    """Everything about the shift of one table's data set.

    Args:
        source, target: the domains.
        few: labelled target cases that recipes with `learn: few` or `both` had.
        source_only: the recipe that nothing of the target had a part in; None where there is none.
        target_supervised: the recipe that had all of the target's labels; None where there is none.
        rule: how the two were found, in words.
        cost: what the shift costs source-only training; None where the source has no test cases.
        gap: target-supervised minus source-only on the target's test cases.
        gap_shown: whether the gap is shown to be above 0; only then are there shares.
        recovered: every other recipe, the largest gain first.
        domains: scores by domain, targets first.
        maps: of features.
        selections: by recipe, what chose its weights and rates.
        sentences: the finding in words, the most important first.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    few: int = 0
    source_only: str | None
    target_supervised: str | None
    rule: str
    cost: Cost | None = None
    gap: Estimate | None = None
    gap_shown: bool = False
    recovered: tuple[Recovered, ...] = ()
    domains: tuple[Domain, ...] = ()
    maps: tuple[Mapped, ...] = ()
    selections: Mapping[str, str] = Field(default_factory=dict)
    sentences: tuple[str, ...] = ()


class LeftOut(Config):
    """Recipes over domains that were left out in turn, each the target of one table.

    Args:
        dataset: the data set before it was taken apart.
        domains: those that were left out and are judged; each gave one number a recipe.
        missing: those that are not judged yet.
        source_only: the recipe that others are counted against.
        values: by recipe, the primary metric by domain.
        means: by recipe, the mean over domains; None where one has no value.
        better: by recipe, in how many domains it scored better than source-only.
        shares: by recipe, the share of the mean gap that it recovers, over domains as units; empty below 6 domains.
        sentence: what it says and how little it may.
    """

    dataset: str
    domains: tuple[str, ...]
    missing: tuple[str, ...] = ()
    source_only: str | None
    values: Mapping[str, Mapping[str, float | None]]
    means: Mapping[str, float | None]
    better: Mapping[str, int]
    shares: Mapping[str, tuple[float, float, float]] = Field(default_factory=dict)
    sentence: str = ""
