"""A lab that trains nothing: it writes down what it is asked for and moves the network's heads a little."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from allograft.contracts import Budget, Objective, Start, Started, Tuning
from allograft.core.input_spec import InputSpec
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.case import Case
from allograft.data.cohort import Cohort
from allograft.data.elements import Elements
from allograft.data.predictions import Predictions
from allograft.data.transforms.augment import Augment
from allograft.functional.uncertainty import Measure
from allograft.nets.batch_norms import restate
from allograft.nets.decoders.same import Same
from allograft.nets.encoders.voxel_features import VoxelFeatures
from allograft.nets.heads.kernel import KernelHead
from allograft.nets.heads.kernel_voxel import KernelVoxelHead
from allograft.nets.network import Encoder, Network
from allograft.nets.spec import NetSpec
from allograft.objectives.supervised import Supervised
from allograft.starts.scratch import Scratch
from allograft.testing.tiny import tiny_net
from allograft.weights.apply import apply
from allograft.weights.source import SourceWeights

__all__ = ["Asked", "FakeLab", "synthetic_cohort"]


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
    restated: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    milestones: list[tuple[str, int]] = field(default_factory=list)
    reports: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    task: Task = field(default_factory=lambda: synthetic_cohort("train", 2).task)
    objective: Objective = field(default_factory=Supervised)
    cohorts: Mapping[str, Cohort] = field(
        default_factory=lambda: {
            "train": synthetic_cohort("train", 12),
            "val": synthetic_cohort("val", 6),
            "unlabelled": synthetic_cohort("unlabelled", 12, labelled=False),
            "target": synthetic_cohort("target", 12, labelled=False),
            "helper": synthetic_cohort("helper", 6).under_head("helper"),
            "val:helper": synthetic_cohort("val:helper", 4).under_head("helper"),
        }
    )

    @property
    def net(self) -> NetSpec:
        """The recipe's network, by name only."""
        return NetSpec(encoder="tiny", dims=3 if self.dims == 3 else 2, decoder="same" if self.task.dense else "")

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
        """Build, plan and apply on a tiny network; of `net` only a kernel head counts, `tasks` change nothing."""
        built = _voxel_net(self.dims, self.task) if self.task.dense else tiny_net(self.dims, outputs=self.task.outputs)
        if net is not None and net.anchors and not self.task.dense:
            built.heads["label"] = KernelHead(built.shape.channels[-1], self.task.outputs, net.anchors)
        built.tasks = tasks if tasks is not None else {self.task.head: self.task}
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

    def elements(self, net: Network, cohort: Cohort, *, per_case: int, level: int = -1, seed: int = 0) -> Elements:
        """Return synthetic elements that depend on the cases' names; a feature tells the classes apart."""
        width, rows = net.shape.channels[level], list[npt.NDArray[np.float32]]()
        labels, head = list[npt.NDArray[np.int64]](), self.task.head
        for case in cohort:
            rng = np.random.default_rng(seed_for("elements", case.id, seed))
            own = np.arange(per_case) % len(self.task.classes)
            rows.append((rng.normal(size=(per_case, width)) + 2 * own[:, None]).astype(np.float32))
            labels.append(own.astype(np.int64) if head in case.targets else np.full(per_case, -1))
        cases = np.repeat(np.arange(len(cohort)), per_case)
        return Elements(np.concatenate(rows), np.concatenate(labels), cases)

    def fitted(self, stage: str, started: Started, fit: Callable[[Network], None], *, roles: Sequence[str]) -> Network:
        """Write down the stage and let it be solved, unless a former run has."""
        self.asked.append(
            Asked(stage, {role: self.cohorts[role].ids for role in (*roles, "val")}, 1, self.objective, None)
        )
        if stage in self.finished:
            self.done[stage] = self.finished[stage]
            return self.finished[stage]
        fit(started.net)
        self.done[stage] = started.net
        return started.net

    def restate(self, net: Network, cohort: Cohort, *, passes: int = 1) -> None:
        """Measure statistics on synthetic noise that depends on the cases' names alone."""
        self.restated.append((cohort.ids, passes))
        shape = (net.shape.in_channels, *[8] * net.shape.dims)
        draws = [np.random.default_rng(seed_for("image", name)).normal(size=shape) for name in cohort.ids]
        restate(net, [torch.from_numpy(np.array(draws, dtype=np.float32))] * passes)

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
        """Return (N, F) numbers that depend on the cases' names alone."""
        width = net.shape.channels[level]
        draws = [np.random.default_rng(seed_for("features", name)).normal(size=width) for name in cohort.ids]
        return np.array(draws, dtype=np.float32).reshape(len(cohort), width)

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


def _voxel_net(dims: int, task: Task) -> Network:
    """Return a network of a segmentation that has no tensors but those of its head."""
    encoder = VoxelFeatures(dims=dims, scales=(1.0,))
    net = Network(
        encoder, {task.head: KernelVoxelHead(encoder.channels[-1], task.outputs, 1)}, Same(cast("Encoder", encoder))
    )
    net.tasks = {task.head: task}
    return net
