"""Rounds: what stages in which a network labels others' cases reported, averaged over runs. No torch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from allograft.core.config import Config
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore

__all__ = ["Round", "read_rounds"]

REPORTS = "reports.json"
"""In a run's folder: what its procedure reported, in order."""


class Round(Config):
    """One round of pseudo-labels of a recipe, averaged over the runs that came to it.

    Args:
        recipe: the recipe.
        round: from 1.
        runs: that came to it.
        classes: share of each class among the teacher's answers on the whole pool, before any choice.
        kept: share of the pool's cases, of masks of its elements, that were taught.
        confidence: mean probability of the teacher's answers.
        agreement: share of the taught labels that are true, None where nobody knows.
        validation: score of the student, None where the procedure did not ask for it.
        collapsed: runs whose teacher did not tell the classes apart.
    """

    recipe: str
    round: int
    runs: int
    classes: Mapping[str, float]
    kept: float
    confidence: float
    agreement: float | None = None
    validation: float | None = None
    collapsed: int = 0


def read_rounds(store: RunStore, keys: Sequence[RunKey], classes: Sequence[str]) -> tuple[Round, ...]:
    """Return the rounds of each recipe in `keys`, in order; none of recipes without pseudo-labels."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for key in keys:
        path = store.run_folder(key.id) / REPORTS
        facts: dict[int, dict[str, Any]] = defaultdict(dict)
        for one in json.loads(path.read_text(encoding="utf-8")) if path.exists() else ():
            if "round" in one:
                facts[int(one["round"])].update(one)
        for number, said in facts.items():
            if "classes" in said and "kept_share" in said:  # other procedures have rounds of their own kind
                found[key.recipe, number].append(said)
    recipes = list(dict.fromkeys(key.recipe for key in keys))
    order = sorted(found, key=lambda at: (recipes.index(at[0]), at[1]))
    return tuple(_mean(recipe, number, found[recipe, number], classes) for recipe, number in order)


def _mean(recipe: str, number: int, said: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Round:
    def mean(name: str) -> float | None:
        known = [float(one[name]) for one in said if name in one]
        return float(np.mean(known)) if known else None

    shares = np.mean([one["classes"] for one in said], axis=0)
    return Round(
        recipe=recipe,
        round=number,
        runs=len(said),
        classes=dict(zip(classes, map(float, shares), strict=True)),
        kept=mean("kept_share") or 0.0,
        confidence=mean("confidence") or 0.0,
        agreement=mean("agreement"),
        validation=mean("validation"),
        collapsed=sum("Collapsed" in str(one.get("note", "")) for one in said),
    )
