"""A lab whose predictions a test decides: an oracle, a constant teacher, or a table. All cases are synthetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from allograft.contracts import Started
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions, logits_of
from allograft.nets.network import Network
from allograft.testing.procedures import FakeLab

Says = Callable[[Case], tuple[float, ...]]


def truth(case: Case) -> int:
    """The class of a case of the lab, labelled or not."""
    return int(case.id.rsplit("-", 1)[1]) % 2


def oracle(case: Case) -> tuple[float, ...]:
    """A teacher that is always right."""
    return tuple(float(k == truth(case)) for k in range(2))


def constant(_case: Case) -> tuple[float, ...]:
    """A teacher that says the same of every case."""
    return (0.25, 0.75)


@dataclass
class LabellingLab(FakeLab):
    """Answers `says` of each case; keeps what every stage was given and how networks were started."""

    says: Says = oracle
    given: dict[str, Mapping[str, Cohort]] = field(default_factory=dict)
    begun: list[Mapping[str, Any]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def start(self, **settings: Any) -> Started:
        self.begun.append(settings)
        return super().start(**settings)

    def train(self, stage: str, started: Started, **settings: Any) -> Network:
        self.given[stage] = {**self.cohorts, **(settings.get("cohorts") or {})}
        return super().train(stage, started, **settings)

    def predict(self, stage: str, net: Network, cohort: Cohort) -> Predictions:
        self.predicted += cohort.ids
        table = np.array([self.says(case) for case in cohort])
        return Predictions(
            task=self.task,
            ids=cohort.ids,
            groups=tuple(case.group for case in cohort),
            logits=logits_of(table, self.task),
            probabilities=table,
            targets=np.full(len(cohort), -1),
        )

    def score(self, net: Network) -> float:
        return self.scores.pop(0) if self.scores else super().score(net)

    def agreement(self, guess: Cohort) -> float | None:
        said = [case.targets["label"] for case in guess]
        hard = [int(np.argmax(s)) if isinstance(s, tuple) else s for s in said]
        return float(np.mean([h == truth(case) for h, case in zip(hard, guess, strict=True)]))
