"""Asked rounds: what recipes that ask for labels reported of each round, averaged over runs. No torch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from allograft.study.label_need import AskedRound
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore

__all__ = ["asked_rounds"]

Facts = Mapping[str, Any]


def asked_rounds(store: RunStore, keys: Sequence[RunKey], recipes: Sequence[str]) -> tuple[AskedRound, ...]:
    """Return the rounds of each recipe in order; empty where nothing was reported."""
    found: dict[tuple[str, str], list[Facts]] = defaultdict(list)
    for key in keys:
        path = store.run_folder(key.id) / "reports.json"
        for one in json.loads(path.read_text(encoding="utf-8")) if path.exists() else ():
            if "entropy_bits" in one:
                found[key.recipe, one["stage"]].append(one)
    made = [_mean(recipe, said) for (recipe, _), said in found.items()]
    return tuple(sorted(made, key=lambda one: (recipes.index(one.recipe), one.labels)))


def _mean(recipe: str, said: Sequence[Facts]) -> AskedRound:
    def mean(name: str) -> float:
        return float(np.mean([one[name] for one in said]))

    classes: dict[str, float] = {}
    if all("acquired" in one for one in said):
        counts = np.sum([one["acquired"] for one in said], axis=0)
        classes = dict(zip(said[0]["classes"].split(", "), map(float, counts / counts.sum()), strict=True))
    return AskedRound(
        recipe=recipe,
        labels=mean("labels"),
        asked=mean("asked"),
        entropy=mean("entropy_bits"),
        entropy_of_all=mean("entropy_bits_of_all"),
        classes=classes,
    )
