"""The working Lab: starts, trains and predicts for one run, each stage kept on disk."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from allograft import catalog
from allograft.contracts import Budget, Objective, Paired, Start, Started, Tuning
from allograft.core.errors import DataError
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.elements import Elements
from allograft.data.predictions import Predictions
from allograft.data.transforms.augment import Augment
from allograft.functional.uncertainty import Measure
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.starts.scratch import Scratch
from allograft.study.agreement import agreement
from allograft.study.answers import answers
from allograft.study.arm import Arm
from allograft.study.desk import Desk
from allograft.study.elements import Draw, draw_elements
from allograft.study.lineage import Lineage, Past, data_read
from allograft.study.milestone import Milestone
from allograft.study.outcome import RunKey
from allograft.study.proof import prove
from allograft.study.restated import restate_on
from allograft.study.solved import kept_stage, solve
from allograft.study.stage import Stage, StageRecord, train_stage
from allograft.weights.apply import apply
from allograft.weights.source import SourceWeights

__all__ = ["RunLab"]


@dataclass
class RunLab:
    """Everything that a procedure may touch in one run; the test cohort is not in it.

    Args:
        key: which run.
        arm: recipe, data and device of the run.
        cohorts: "train", "val" and what else the study names; never test.
        where: folder for checkpoints and finished stages.
        truth: training cases with every label that the data set has; what procedures see of it they ask for by
            `label`, and its use is counted in `asked`.
        desk: where a person is asked for labels, None where nobody can be.
    """

    key: RunKey
    arm: Arm
    cohorts: Mapping[str, Cohort]
    where: Path
    truth: Cohort | None = None
    desk: Desk | None = None
    records: list[StageRecord] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    milestones: list[Milestone] = field(default_factory=list)
    reports: list[Mapping[str, object]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=Lineage)

    @property
    def task(self) -> Task:
        """What is to be predicted."""
        return self.arm.task

    @property
    def net(self) -> NetSpec:
        """The recipe's network."""
        return self.arm.recipe.net

    @property
    def objective(self) -> Objective:
        """The recipe's objective."""
        return self.arm.recipe.objective

    @property
    def budget(self) -> Budget:
        """The recipe's budget."""
        return self.arm.recipe.budget

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the plans of this run."""
        return tuple(dict.fromkeys(note for record in self.records for note in record.plan.notes))

    def seed(self, *names: str) -> int:
        """Return a seed that every recipe of the same data, fold, seed and fraction shares."""
        key = self.key
        return seed_for("run", key.dataset, key.fold, key.seed, key.label_fraction, *names)

    def start(
        self,
        *,
        source: SourceWeights | None = None,
        net: NetSpec | None = None,
        start: Start | None = None,
        tasks: Mapping[str, Task] | None = None,
        fresh: str = "",
    ) -> Started:
        """Build a fresh network, make the plan, and apply it; problems end the run here."""
        begun = time.monotonic()
        tasks = tasks if tasks is not None else {self.task.head: self.task}
        spec = (net or self.net).for_tasks(tasks.values())
        source = source or self.arm.source
        built = build_network(
            spec,
            tasks,
            in_channels=self.arm.in_channels,
            seed=self.seed("init", *filter(None, [fresh])),
            parts=catalog.parts(spec),
            channel_names=self.arm.channel_names,
        )
        plan = (start or self.arm.recipe.start).plan(built, source)
        plan.require_sound()
        apply(plan, built, source, seed=self.seed("apply", *filter(None, [fresh])))
        proof = prove(plan, built, source) if source is not None else ""
        self.lineage.began(built, plan, source, proof, spec)
        self._spent("start", begun)
        return Started(built, plan)

    def source(self, net: Network, name: str) -> SourceWeights:
        """Return a network of this run as a source: its contract is that of the images that it was trained on."""
        arm, parent = self.arm, self.arm.source.card if self.arm.source else None
        channels, dims = arm.in_channels, net.shape.dims
        own = arm.pool.normalise.contract(channels, dims, arm.channel_names)
        expects = parent.expects.for_channels(channels, arm.channel_names).for_dims(dims) if parent else own
        otherwise = Past(parent, (self.key.dataset, *arm.others))
        made = self.lineage.source(net, name, spec=self.spec_of(net), expects=expects, otherwise=otherwise)
        known = [c.seen_as for c in self.cohorts.values() if c.name in made.card.seen]
        seen = dict.fromkeys((*made.card.seen, *(alias for names in known for alias in names)))
        made.card = made.card.model_copy(update={"seen": tuple(seen)})
        return made

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
        """Train one stage; one that is finished on disk is read back and returned at once."""
        begun = time.monotonic()
        if any(record.stage == stage for record in self.records):
            raise ValueError(f'stage "{stage}" is trained twice in one run; stage names must differ.')
        folder, chosen = self.where / stage, objective or self.objective
        job = Stage(
            name=stage,
            started=started,
            partners=self._partners(chosen),
            objective=chosen,
            tuning=tuning or self.arm.recipe.tuning,
            cohorts={**self.cohorts, **(cohorts or {})},
            steps=max(1, round(self.arm.recipe.budget.steps * share)),
            seed=self.seed("stage", stage),
            folder=folder,
        )
        arm, net = self.arm.with_augment(augment), started.net
        facts = {"data": data_read(chosen, job.cohorts), "steps": job.steps, "proof": self.lineage.proof(net)}
        self._keep(folder, net, lambda: train_stage(job, arm).model_copy(update=facts), begun)
        return started.net

    def score(self, net: Network) -> float:
        """Return the validation score that also chooses rates and steps; larger is better."""
        begun = time.monotonic()
        found = self.arm.score(net, self.cohorts["val"])
        self._spent("predict", begun)
        return found

    def predict(self, stage: str, net: Network, cohort: Cohort) -> Predictions:
        """Predict plain images; `stage` names the prediction in the log only."""
        begun = time.monotonic()
        found = self.arm.predict(net, cohort)
        self._spent("predict", begun)
        return found

    def propose(self, stage: str, net: Network, cohort: Cohort, *, floor: float = 0.0) -> Cohort:
        """Return the cases with the network's masks as targets; files lie in the folder `stage` of the run."""
        begun = time.monotonic()
        found = self.arm.propose(net, cohort, self.where / stage / "proposals", floor)
        self._spent("predict", begun)
        return found

    def features(self, net: Network, cohort: Cohort, level: int = -1) -> npt.NDArray[np.float32]:
        """Return (N, F), the mean over positions of one of the encoder's levels."""
        begun = time.monotonic()
        found = self.arm.pool_of(cohort).features(net, cohort, self.arm.device, level)
        self._spent("predict", begun)
        return found

    def elements(self, net: Network, cohort: Cohort, *, per_case: int, level: int = -1, seed: int = 0) -> Elements:
        """Draw elements of each whole image, of one with a mask every class equally often."""
        begun = time.monotonic()
        found = draw_elements(net, self.arm.pool_of(cohort), cohort, self.arm.device, Draw(per_case, level, seed))
        self._spent("predict", begun)
        return found

    def fitted(self, stage: str, started: Started, fit: Callable[[Network], None], *, roles: Sequence[str]) -> Network:
        """Keep a stage that is solved without steps; one that is finished on disk is read back and returned at once."""
        begun = time.monotonic()
        read, proof = dict.fromkeys(self.cohorts[role].name for role in roles), self.lineage.proof(started.net)
        facts = {"data": tuple(read), "proof": proof}
        self._keep(self.where / stage, started.net, lambda: solve(stage, started, fit).model_copy(update=facts), begun)
        return started.net

    def restate(self, net: Network, cohort: Cohort, *, passes: int = 1) -> None:
        """Measure the running statistics of batch norms anew; order and windows are drawn from the run's seed."""
        begun = time.monotonic()
        restate_on(self.arm, net, cohort, passes=passes, seed=self.seed("restate"))
        self.lineage.learnt(net, (cohort.name,))
        self._spent("train", begun)

    def doubt(
        self, net: Network, cohort: Cohort, measure: Measure, *, passes: int = 0, seed: int = 0
    ) -> npt.NDArray[np.float64]:
        """Return (N,), a measure of each case's probabilities; of a mask its mean over elements."""
        begun = time.monotonic()
        found = self.arm.pool_of(cohort).doubt(net, cohort, self.arm.device, measure, passes=passes, seed=seed)
        self._spent("predict", begun)
        return found

    def pictures(self, cohort: Cohort) -> Iterator[npt.NDArray[np.float32]]:
        """Yield (H, W) grey values of each case as it is stored, of a volume its middle slice."""
        return self.arm.pool_of(cohort).pictures(cohort)

    def label(self, ids: Sequence[str], *, oracle: Literal["data", "person"] = "data") -> Cohort:
        """Return the named unlabelled cases with their true labels, or with those that a person gave.

        Raises:
            DataError: a case is not among the unlabelled ones, or nobody knows its label.
            Pending: a person has not answered for all of them yet.
        """
        found = answers(ids, self._unlabelled(), self.truth, self.desk if oracle == "person" else None)
        self.asked.update(ids)
        if oracle == "person" and self.task.kind == "segmentation":
            self.arm = replace(self.arm, pool=self.arm.pool.with_masks(found))
        return found

    def agreement(self, guess: Cohort) -> float | None:
        """Return the share of proposed classes that are true, over the cases whose truth is known."""
        return None if self.truth is None else agreement(guess, self.truth, self.arm.pool.store)

    def milestone(self, stage: str, net: Network, labels: int) -> None:
        """Keep a copy of the network to be tested when the run is over."""
        self.milestones.append(Milestone(stage, labels, copy.deepcopy(net)))

    def report(self, stage: str, facts: Mapping[str, float | str | Sequence[float]]) -> None:
        """Keep facts about a stage for the run's record."""
        self.reports.append({"stage": stage, **facts})

    def spec_of(self, net: Network) -> NetSpec:
        """Return how a network of this run was built, which need not be the recipe's own."""
        return self.lineage.spec(net) or self.net

    def like(self, net: Network) -> Network:
        """Return a network that begins as one of this kind begins in this run."""
        return self._begin(self.spec_of(net)).net

    def _partners(self, objective: Objective) -> dict[str, Started]:
        """Return networks trained beside the recipe's: begun like it, or from scratch where of another kind."""
        specs = objective.partners(self.net) if isinstance(objective, Paired) else {}
        return {name: self._begin(spec, fresh=name) for name, spec in specs.items()}

    def _begin(self, spec: NetSpec, fresh: str = "") -> Started:
        return self.start(net=spec, start=None if spec.takes_weights_of(self.net) else Scratch(), fresh=fresh)

    def _unlabelled(self) -> Cohort:
        if "unlabelled" not in self.cohorts:
            msg = "every training case of this run is labelled: name label_counts or label_fractions below 1."
            raise DataError(msg)
        return self.cohorts["unlabelled"]

    def _keep(self, folder: Path, net: Network, make: Callable[[], StageRecord], begun: float) -> None:
        record = kept_stage(folder, net, make, writes=self.arm.device.leads)
        self.records.append(record)
        self.lineage.learnt(net, record.data)
        self._spent("train", begun)

    def _spent(self, what: str, begun: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - begun
