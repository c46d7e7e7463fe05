"""The working Lab: starts, trains and predicts for one run, each stage kept on disk."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors.torch import load_file, save_file

from allograft import catalog
from allograft.contracts import Budget, Objective, Paired, Start, Started, Tuning
from allograft.core.atomic import write_text
from allograft.core.errors import DataError
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions
from allograft.data.transforms.augment import Augment
from allograft.functional.uncertainty import Measure
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.starts.scratch import Scratch
from allograft.study.agreement import agreement
from allograft.study.arm import Arm
from allograft.study.desk import Desk
from allograft.study.lineage import Lineage, Past, data_read
from allograft.study.outcome import RunKey
from allograft.study.proof import prove
from allograft.study.stage import Stage, StageRecord, train_stage
from allograft.weights.apply import apply
from allograft.weights.source import SourceWeights

__all__ = ["Milestone", "RunLab"]


class Milestone(NamedTuple):
    """A network on the way, to be tested when the run is over, and how many labelled cases led to it."""

    stage: str
    labels: int
    net: Network


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
        tasks = tasks or {self.task.head: self.task}
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
            msg = f'stage "{stage}" is trained twice in one run; stage names must differ.'
            raise ValueError(msg)
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
        record = self._finished(job, self.arm.with_augment(augment))
        self.records.append(record)
        self.lineage.learnt(started.net, record.data)
        self._spent("train", begun)
        return started.net

    def _finished(self, job: Stage, arm: Arm) -> StageRecord:
        """Return the record of a stage, trained now or read back from disk; its network holds what it led to."""
        net, record_path, weights_path = job.started.net, job.folder / "stage.json", job.folder / "net.safetensors"
        if record_path.exists():
            net.load_state_dict(load_file(weights_path))
            return StageRecord.model_validate_json(record_path.read_text(encoding="utf-8"))
        read, proof = data_read(job.objective, job.cohorts), self.lineage.proof(net)
        facts = {"data": read, "steps": job.steps, "proof": proof}
        record = train_stage(job, arm).model_copy(update=facts)
        job.folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, weights_path)
        write_text(record_path, record.model_dump_json())
        return record

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
        if oracle == "person":
            assert self.desk is not None, "runs of a study have a desk"
            self.asked.update(ids)
            return self.desk.answered(self._unlabelled().subset(ids), ids)
        known = () if self.truth is None else self.truth.labelled().ids
        missing = sorted(set(ids) - set(known) or set(ids) - set(self._unlabelled().ids))
        if missing or self.truth is None:
            msg = (
                f"{len(missing)} of {len(ids)} cases cannot be labelled, first {missing[:1]}: they are not among the "
                "unlabelled training cases of this run, or the data set does not know their label."
            )
            raise DataError(msg)
        self.asked.update(ids)
        return self.truth.subset(ids)

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

    def _spent(self, what: str, begun: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - begun
