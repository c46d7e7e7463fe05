"""FeatureMap: deep features of source and target cases in two dimensions, before and after training. No torch.

Principal components, found on source and target together, separately before and after: the two maps share no axes.
What a map seems to show is judged by the numbers beside it, which are of all dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from allograft.core.atomic import write_bytes, write_text
from allograft.study.domain_gap import Mapped
from allograft.study.outcome import RunKey
from allograft.study.store import RunStore

__all__ = ["FeatureMap", "mapped", "plane", "read_map", "write_map"]

NAME = "feature_map"
TIMES = ("before", "after")
NUMBERS = ("told_before", "told_after", "mmd_before", "mmd_after")

Array = npt.NDArray[np.float64]


class FeatureMap(NamedTuple):
    """Points of N cases.

    Args:
        cases: N pseudonyms.
        domains: N domains.
        sides: N of "source" and "target".
        labels: N classes, empty where a case has no single one.
        before: (N, 2).
        after: (N, 2).
    """

    cases: tuple[str, ...]
    domains: tuple[str, ...]
    sides: tuple[str, ...]
    labels: tuple[str, ...]
    before: Array
    after: Array


def plane(features: npt.ArrayLike) -> Array:
    """Return features (N, F) along their two leading directions, (N, 2); a direction that does not vary is 0.

    Signs are such that the value farthest from 0 is positive, so that the same features give the same map.
    """
    found = np.asarray(features, dtype=np.float64)
    u, s, _ = np.linalg.svd(found - found.mean(0), full_matrices=False)
    at = np.zeros((len(found), 2))
    wide = min(2, len(s))
    at[:, :wide] = u[:, :wide] * s[:wide]
    return np.asarray(at * np.where(at[np.abs(at).argmax(0), [0, 1]] < 0, -1.0, 1.0))


def write_map(folder: Path, found: FeatureMap, numbers: Mapped) -> None:
    """Write the points and the numbers beside them into a run's folder."""
    columns = {"case": found.cases, "domain": found.domains, "side": found.sides, "label": found.labels}
    places = {f"{axis}_{time}": getattr(found, time)[:, i] for time in TIMES for i, axis in enumerate("xy")}
    write_bytes(folder / f"{NAME}.parquet", pd.DataFrame({**columns, **places}).to_parquet(index=False))
    write_text(folder / f"{NAME}.json", json.dumps(numbers.model_dump(mode="json", include=set(NUMBERS))))


def read_map(path: Path) -> FeatureMap:
    """Return the points that `write_map` wrote."""
    table = pd.read_parquet(path)
    cases, domains, sides, labels = (tuple(map(str, table[name])) for name in ("case", "domain", "side", "label"))
    before, after = (table[[f"x_{time}", f"y_{time}"]].to_numpy(dtype=np.float64) for time in TIMES)
    return FeatureMap(cases, domains, sides, labels, before, after)


def mapped(store: RunStore, keys: Sequence[RunKey]) -> tuple[Mapped, ...]:
    """Return the map of each recipe: of its first fold and seed that has one."""
    found: dict[str, Mapped] = {}
    for key in sorted(keys, key=lambda key: (key.fold, key.seed)):
        folder = store.run_folder(key.id)
        if key.recipe not in found and (folder / f"{NAME}.parquet").exists():
            numbers = json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))
            found[key.recipe] = Mapped(recipe=key.recipe, run=key.id, file=folder / f"{NAME}.parquet", **numbers)
    return tuple(found.values())
