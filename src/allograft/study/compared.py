"""Compared: estimates, comparisons and fusions as a summary keeps them. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from allograft.core.config import Config

__all__ = ["Estimate", "Fused", "Pair", "seen_from"]


class Estimate(Config):
    """A mean over independent units with its interval; `low` and `high` are None below 2 units."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    n_units: int = 0
    method: str = ""


class Pair(Config):
    """Two recipes compared on the same units; difference > 0 means that `a` is better; margin None: none was set."""

    a: str
    b: str
    difference: float | None
    ci: tuple[float, float] | None
    test: str
    unit: str
    n_units: int
    p: float | None
    p_adjusted: float | None
    verdict: str
    margin: float | None
    sentence: str
    p_seeds: float | None = None
    units_needed: int | None = None


class Fused(Config):
    """Several recipes fused, on one data set at one label fraction.

    Args:
        name: its members, joined by " + ".
        rule: how they were fused, in words.
        dataset, label_fraction: where.
        runs: the members' runs.
        seeds: how many repeats.
        unit, n_units: what was judged.
        estimate: the fusion's primary metric.
        members: the same of each member, by recipe.
        pairs: the fusion against each member; adjusted for all pairs of members and fusion.
    """

    name: str
    rule: str
    dataset: str
    label_fraction: float
    runs: tuple[str, ...]
    seeds: int
    unit: str
    n_units: int
    estimate: Estimate
    members: Mapping[str, Estimate]
    pairs: tuple[Pair, ...]


def seen_from(pair: Pair, baseline: str) -> Pair:
    """Turn a pair so that the baseline is `b`: a difference above 0 favours the other recipe."""
    if pair.a != baseline:
        return pair
    ci = None if pair.ci is None else (-pair.ci[1], -pair.ci[0])
    difference = None if pair.difference is None else -pair.difference
    return pair.model_copy(update={"a": pair.b, "b": pair.a, "difference": difference, "ci": ci})
