"""Asking: what a round can find out about its cases in a lab, and what it reports of those it chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.contracts import Lab
from allograft.data.cohort import Cohort
from allograft.functional.uncertainty import Measure
from allograft.nets.network import Network
from allograft.procedures.acquisition.acquisition import Situation
from allograft.procedures.acquisition.measures import entropy

__all__ = ["facts_of", "situation"]


def situation(lab: Lab, net: Network, labelled: Cohort, rest: Cohort, *, seed: int) -> Situation:
    """Return a round's situation; a doubt that is asked for twice is measured once."""
    kept: dict[tuple[Measure, int], npt.NDArray[np.float64]] = {}

    def doubt(measure: Measure, passes: int) -> npt.NDArray[np.float64]:
        if (measure, passes) not in kept:
            kept[measure, passes] = lab.doubt(net, rest, measure, passes=passes, seed=seed)
        return kept[measure, passes]

    def features(rows: Sequence[int], level: int) -> npt.NDArray[Any]:
        places = {rest.ids[i]: k for k, i in enumerate(sorted(rows))}
        found = lab.features(net, rest.subset(places), level)  # in the cohort's order
        return found[[places[rest.ids[i]] for i in rows]]

    return Situation(
        ids=rest.ids, doubt=doubt, features=features, labelled=lambda level: lab.features(net, labelled, level)
    )


def facts_of(here: Situation, new: Cohort, *, labels: int) -> dict[str, float | str | Sequence[float]]:
    """Return what a report says of the cases that a round chose.

    Args:
        here: the situation before.
        new: the chosen cases with their labels.
        labels: labelled cases after.
    """
    doubts = dict(zip(here.ids, here.doubt(entropy, 0).tolist(), strict=True))
    facts: dict[str, float | str | Sequence[float]] = {
        "labels": labels,
        "asked": len(new),
        "entropy_bits": float(np.mean([doubts[name] for name in new.ids])),
        "entropy_bits_of_all": float(np.mean(list(doubts.values()))),
    }
    task = new.task
    if task.kind in {"binary", "multiclass"}:
        count = Counter(case.targets.get(task.head) for case in new)
        facts |= {"classes": ", ".join(task.classes), "acquired": [float(count[i]) for i in range(len(task.classes))]}
    return facts
