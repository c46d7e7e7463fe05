"""The working Lab: starts, trains and predicts for one run, each stage kept on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file

from allograft import catalog
from allograft.contracts import Budget, Objective, Start, Started, Tuning
from allograft.core.atomic import write_text
from allograft.core.errors import DataError
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.study.arm import Arm
from allograft.study.outcome import RunKey
from allograft.study.proof import prove
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
    """

    key: RunKey
    arm: Arm
    cohorts: Mapping[str, Cohort]
    where: Path
    records: list[StageRecord] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

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
    ) -> Started:
        """Build a fresh network, make the plan, and apply it; problems end the run here."""
        begun = time.monotonic()
        tasks = tasks or {self.task.head: self.task}
        spec = net or self.net
        if not any(task.kind == "segmentation" for task in tasks.values()):
            spec = spec.model_copy(update={"decoder": ""})
        source = source or self.arm.source
        built = build_network(
            spec,
            tasks,
            in_channels=self.arm.in_channels,
            seed=self.seed("init"),
            parts=catalog.parts(spec),
        )
        plan = (start or self.arm.recipe.start).plan(built, source)
        plan.require_sound()
        apply(plan, built, source, seed=self.seed("apply"))
        if source is not None:
            prove(plan, built, source)
        self._spent("start", begun)
        return Started(built, plan)

    def source(self, net: Network, name: str) -> SourceWeights:
        """Return a network of this run as a source: its contract is that of the images that it was trained on."""
        arm, parent = self.arm, self.arm.source.card if self.arm.source else None
        channels, dims = arm.in_channels, net.shape.dims
        own = arm.pool.normalise.contract(channels, dims)
        expects = parent.expects.for_channels(channels).for_dims(dims) if parent else own
        seen = (self.key.dataset, *self.arm.others)
        made = SourceWeights.of(net, name, expects, arm.recipe.net.encoder, seen=seen, parent=parent)
        made.card = made.card.model_copy(update={"width": self.net.width, "until": self.net.until})
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
    ) -> Network:
        """Train one stage; one that is finished on disk is read back and returned at once."""
        begun = time.monotonic()
        if any(record.stage == stage for record in self.records):
            msg = f'stage "{stage}" is trained twice in one run; stage names must differ.'
            raise ValueError(msg)
        folder = self.where / stage
        job = Stage(
            name=stage,
            started=started,
            objective=objective or self.objective,
            tuning=tuning or self.arm.recipe.tuning,
            cohorts={**self.cohorts, **(cohorts or {})},
            steps=max(1, round(self.arm.recipe.budget.steps * share)),
            seed=self.seed("stage", stage),
            folder=folder,
        )
        record_path, weights_path = folder / "stage.json", folder / "net.safetensors"
        if record_path.exists():
            record = StageRecord.model_validate_json(record_path.read_text(encoding="utf-8"))
            started.net.load_state_dict(load_file(weights_path))
        else:
            record = train_stage(job, self.arm)
            folder.mkdir(parents=True, exist_ok=True)
            save_file({k: v.contiguous() for k, v in started.net.state_dict().items()}, weights_path)
            write_text(record_path, record.model_dump_json())
        self.records.append(record)
        self._spent("train", begun)
        return started.net

    def predict(self, stage: str, net: Network, cohort: Cohort) -> Predictions:
        """Predict plain images; `stage` names the prediction in the log only."""
        begun = time.monotonic()
        found = self.arm.predict(net, cohort)
        self._spent("predict", begun)
        return found

    def label(self, ids: Sequence[str]) -> Cohort:
        """Return the named cases of the pool with their true labels.

        Raises:
            DataError: the run has no pool to label from.
        """
        if "pool" not in self.cohorts:
            msg = "this study names no pool of cases to label."
            raise DataError(msg)
        return self.cohorts["pool"].subset(ids)

    def _spent(self, what: str, begun: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - begun
