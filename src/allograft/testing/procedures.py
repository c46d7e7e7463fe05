"""Contract of a procedure: stages with names of their own, only what the lab gives, the same when repeated.

A `FakeLab` trains nothing; it writes down what it is asked for and moves the network's heads a little,
so that a procedure runs in milliseconds. Each check raises AssertionError with what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from allograft.contracts import Budget, Lab, Method, Objective, Procedure, Start, Started, Tuning
from allograft.core.input_spec import InputSpec
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions
from allograft.data.transforms.augment import Augment
from allograft.functional.uncertainty import Measure
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.objectives.supervised import Supervised
from allograft.starts.scratch import Scratch
from allograft.testing.methods import check_method
from allograft.testing.tiny import tiny_net
from allograft.weights.apply import apply
from allograft.weights.source import SourceWeights

__all__ = ["Asked", "FakeLab", "check_procedure", "synthetic_cohort"]


class Asked(NamedTuple):
    """A stage that a procedure asked for.

    Args:
        stage: its name.
        ids: of every case given to it, by role.
        share: of the recipe's steps.
        objective: what it minimises.
        tuning: how its entries learn, None for the recipe's.
        augment: of its images, None for the recipe's.
    """

    stage: str
    ids: Mapping[str, tuple[str, ...]]
    share: float
    objective: Objective
    tuning: Tuning | None
    augment: Augment | None = None


def synthetic_cohort(role: str, size: int, *, labelled: bool = True) -> Cohort:
    """Return synthetic cases of two classes whose ids begin with the role; there are no images."""
    task = Task(kind="binary", classes=("no", "yes"))
    cases = tuple(
        Case(id=f"{role}-{i}", image=(), group=f"{role}-{i}", targets={task.head: i % 2} if labelled else {})
        for i in range(size)
    )
    return Cohort(name="synthetic", task=task, cases=cases)


@dataclass
class FakeLab:
    """A lab without data and training, in 2-D and 3-D.

    Args:
        dims: 2 or 3.
        finished: stages that a former, killed run has finished; they return at once, as in a study.
    """

    dims: int = 2
    finished: Mapping[str, Network] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    done: dict[str, Network] = field(default_factory=dict)
    predicted: list[str] = field(default_factory=list)
    milestones: list[tuple[str, int]] = field(default_factory=list)
    reports: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    task: Task = field(default_factory=lambda: synthetic_cohort("train", 2).task)
    objective: Objective = field(default_factory=Supervised)
    cohorts: Mapping[str, Cohort] = field(
        default_factory=lambda: {
            "train": synthetic_cohort("train", 12),
            "val": synthetic_cohort("val", 6),
            "unlabelled": synthetic_cohort("unlabelled", 12, labelled=False),
            "helper": synthetic_cohort("helper", 6).under_head("helper"),
            "val:helper": synthetic_cohort("val:helper", 4).under_head("helper"),
        }
    )

    @property
    def net(self) -> NetSpec:
        """The recipe's network, by name only."""
        return NetSpec(encoder="tiny", dims=3 if self.dims == 3 else 2)

    @property
    def budget(self) -> Budget:
        """The recipe's budget."""
        return Budget(steps=8, batch=4)

    def source(self, net: Network, name: str) -> SourceWeights:
        """Return a network as a source."""
        return SourceWeights.of(net, name, InputSpec(channels=3, axes="DHW" if self.dims == 3 else "HW"), "tiny")

    def start(
        self,
        *,
        source: SourceWeights | None = None,
        net: NetSpec | None = None,
        start: Start | None = None,
        tasks: Mapping[str, Task] | None = None,
    ) -> Started:
        """Build, plan and apply on a tiny network; another `net` or other `tasks` give the same one."""
        built = tiny_net(self.dims, outputs=self.task.outputs)
        built.tasks = tasks or {self.task.head: self.task}
        plan = (start or Scratch()).plan(built, source)
        plan.require_sound()
        apply(plan, built, source, seed=0)
        return Started(built, plan)

    def train(
        self,
        stage: str,
        started: Started,
        *,
        objective: Objective | None = None,
        cohorts: Mapping[str, Cohort] | None = None,
        tuning: Tuning | None = None,
        share: float = 1.0,
        augment: Augment | None = None,
    ) -> Network:
        """Write down the stage and move the heads by an amount that depends on its name and cases."""
        given = {**self.cohorts, **(cohorts or {})}
        ids = {role: cohort.ids for role, cohort in given.items()}
        self.asked.append(Asked(stage, ids, share, objective or self.objective, tuning, augment))
        if stage in self.finished:
            self.done[stage] = self.finished[stage]
            return self.finished[stage]
        amount = (seed_for(stage, *given["train"].ids) % 1000) / 1e4
        with torch.no_grad():
            for parameter in started.net.heads.parameters():
                parameter.add_(amount)
        self.done[stage] = started.net
        return started.net

    def score(self, net: Network) -> float:
        """Return a number that depends on the network's head."""
        return float(next(p for p in net.heads.parameters() if p.ndim == 1).detach()[0])

    def predict(self, stage: str, net: Network, cohort: Cohort) -> Predictions:
        """Return what the network's head bias says of every case alike, spread a little by the case's name."""
        self.predicted += cohort.ids
        bias = float(next(p for p in net.heads.parameters() if p.ndim == 1).detach()[0])
        spread = [seed_for("predict", name) % 1000 / 1000 - 0.5 for name in cohort.ids]
        logits = np.array([[bias + each] for each in spread], dtype=np.float32)
        yes = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
        return Predictions(
            task=self.task,
            ids=cohort.ids,
            groups=tuple(case.group for case in cohort),
            logits=logits,
            probabilities=np.stack([1 - yes, yes], axis=1),
            targets=np.array([case.targets.get(self.task.head, -1) for case in cohort], dtype=np.int64),
        )

    def doubt(
        self, net: Network, cohort: Cohort, measure: Measure, *, passes: int = 0, seed: int = 0
    ) -> npt.NDArray[np.float64]:
        """Return the measure of what `predict` says; of several passes each says something else."""
        self.predicted += cohort.ids
        passes = max(1, passes)
        draws = [np.random.default_rng(seed_for("doubt", seed, name)).uniform(size=passes) for name in cohort.ids]
        yes = np.array(draws).reshape(len(cohort), passes).T
        return measure(np.stack([1 - yes, yes], axis=-1))

    def pictures(self, cohort: Cohort) -> Iterator[npt.NDArray[np.float32]]:
        """Yield synthetic noise that depends on the cases' names alone."""
        for name in cohort.ids:
            yield np.random.default_rng(seed_for("picture", name)).uniform(size=(64, 64)).astype(np.float32)

    def label(self, ids: Sequence[str], *, oracle: Literal["data", "person"] = "data") -> Cohort:
        """Return the named unlabelled cases as if a person had labelled them."""
        pool = self.cohorts["unlabelled"].subset(ids)
        return pool.with_targets({name: {self.task.head: seed_for(name) % 2} for name in ids})

    def propose(self, stage: str, net: Network, cohort: Cohort, *, floor: float = 0.0) -> Cohort:
        """Refuse: the cases of this lab have classes and no masks."""
        msg = f'stage "{stage}" proposes masks in a {self.task.kind} task: use predict.'
        raise AssertionError(msg)

    def features(self, net: Network, cohort: Cohort, level: int = -1) -> npt.NDArray[np.float32]:
        """Return (N, 4) numbers that depend on the cases' names alone."""
        draws = [np.random.default_rng(seed_for("features", name)).normal(size=4) for name in cohort.ids]
        return np.array(draws, dtype=np.float32).reshape(len(cohort), 4)

    def agreement(self, guess: Cohort) -> float | None:
        """Return None: nobody knows the truth."""
        return None

    def milestone(self, stage: str, net: Network, labels: int) -> None:
        """Write down the network's name and the number of labels."""
        self.milestones.append((stage, labels))

    def report(self, stage: str, facts: Mapping[str, float | str | Sequence[float]]) -> None:
        """Write down the facts."""
        self.reports.append((stage, dict(facts)))

    def seed(self, *names: str) -> int:
        """Return a seed for a named draw."""
        return seed_for("fake", *names)


def check_procedure(procedure: Procedure, *, dims: int = 2, objective: Objective | None = None) -> None:
    """Check a procedure's settings, stages, cases, and that it can be killed after any stage and go on.

    Args:
        procedure: what is checked.
        dims: 2 or 3.
        objective: of the recipe, where the procedure needs another than the plain one.

    Raises:
        AssertionError: names the stage and what is wrong.
    """
    check_method(cast("Method", procedure))
    chosen = objective or Supervised()
    whole, net = _run(procedure, FakeLab(dims, objective=chosen))
    names = [asked.stage for asked in whole.asked]
    assert names, "the procedure trains nothing"
    assert len(set(names)) == len(names), f"stage names are not unique: {names}"
    assert isinstance(net, Network), f"the procedure returned a {type(net).__name__}, expected the network to be judged"
    assert all(asked.share > 0 for asked in whole.asked), "a stage has no share of the steps"
    _check_cases(whole)
    again, same = _run(procedure, FakeLab(dims, objective=chosen))
    assert again.asked == whole.asked, "asked for other stages when run again: a draw does not go through lab.seed"
    assert _equal(net, same), "gave another network when run again"
    for count in range(1, len(names) + 1):
        resumed, late = _run(
            procedure, FakeLab(dims, objective=chosen, finished={n: whole.done[n] for n in names[:count]})
        )
        assert [asked.stage for asked in resumed.asked] == names, f"other stages when resumed after {names[count - 1]}"
        assert _equal(net, late), f"another network when resumed after {names[count - 1]}"


def _run(procedure: Procedure, lab: FakeLab) -> tuple[FakeLab, Network]:
    return lab, procedure.run(cast("Lab", lab))


def _check_cases(lab: FakeLab) -> None:
    """Only cases of the lab, and no validation case in training."""
    known = {name for cohort in lab.cohorts.values() for name in cohort.ids}
    validation = {name for role, cohort in lab.cohorts.items() if role.startswith("val") for name in cohort.ids}
    judges = [set(cohort.ids) for role, cohort in lab.cohorts.items() if role == "val" or role.startswith("val:")]
    for asked in lab.asked:
        for role, ids in asked.ids.items():
            assert set(ids) <= known, f"stage {asked.stage}: {role} has cases that the lab did not give"
            if not role.startswith("val"):
                assert not set(ids) & validation, f"stage {asked.stage}: {role} trains on validation cases"
        assert set(asked.ids["val"]) in judges, f"stage {asked.stage}: validated on other cases than the study's"
    assert set(lab.predicted) <= known, "predicted cases that the lab did not give"


def _equal(a: Network, b: Network) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
