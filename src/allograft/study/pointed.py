"""Pointed: how much of a network's heat lies inside a mask, as runs and summaries keep it. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from allograft.core.config import Config
from allograft.study.compared import Estimate, Pair

__all__ = ["Pointed", "Pointing"]


class Pointed(Config):
    """One test case of one run.

    Args:
        head: whose mask.
        case, unit: pseudonyms.
        share: of the heat inside the mask, None where nothing speaks for the case's class.
        hit: whether the hottest place lies inside.
        area: share of the image that the mask covers: what heat without a place would have inside.
    """

    head: str
    case: str
    unit: str
    share: float | None
    hit: bool | None
    area: float


class Pointing(Config):
    """Whether networks look where a mask is, on one data set at one label fraction.

    Args:
        head: whose mask, a name under `also`.
        unit, n_units, n_cases: what was looked at.
        area: share of an image that the mask covers, mean over units.
        shares: of the heat inside the mask, by recipe.
        hits: share of cases whose hottest place lies inside, by recipe.
        without_heat: cases in which nothing speaks for the class, by recipe; they are left out of its numbers.
        pairs: recipes compared by the share.
        missing: recipes without maps.
    """

    head: str
    unit: str
    n_units: int
    n_cases: int
    area: float | None
    shares: Mapping[str, Estimate]
    hits: Mapping[str, float | None]
    without_heat: Mapping[str, int]
    pairs: tuple[Pair, ...]
    missing: tuple[str, ...] = ()
