"""Rehearsal: a procedure run on shapes alone, so that the plan of every stage is known before the first step.

The same `procedure.run(lab)` that trains is given a lab without values: networks lie on the meta device, `train`
writes the stage's plan down and returns the network as it is, `source` gives shapes. A procedure that asks what a
network predicts cannot go on: its later stages are planned when they begin, and the last plan says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NoReturn

from allograft import catalog
from allograft.contracts import Budget, Objective, Start, Started, Tuning
from allograft.core.errors import AllograftError, ConfigError, PlanError
from allograft.core.input_spec import InputSpec
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.cohort import Cohort
from allograft.data.transforms.augment import Augment
from allograft.functional.uncertainty import Measure
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec
from allograft.study.arm import is_judged
from allograft.study.grid import Search
from allograft.study.lineage import Lineage, Past, data_read
from allograft.study.recipe import Recipe
from allograft.study.roles import role_missing
from allograft.study.solved import solved
from allograft.study.tested_images import TO_BE_SEEN, sees_tested
from allograft.weights.plan import TransferPlan
from allograft.weights.source import SourceWeights

__all__ = ["UNFORESEEN", "UNREHEARSED", "Rehearsed", "Stand", "rehearse"]

UNFORESEEN = "later stages depend on what the network predicts; they are planned when they begin"
"""Note on the last plan that could be made beforehand."""

UNREHEARSED = "the procedure cannot be rehearsed further on shapes alone"
"""Note where its code needs more than shapes; without any stage the recipe's own start is planned in its place."""


class Rehearsed(NamedTuple):
    """A stage as it will be trained.

    Args:
        stage: its name.
        plan: with `learns` for the steps that the search leaves.
        data: names of the data sets that it reads.
        steps: in all, the search included.
        net: on the meta device.
    """

    stage: str
    plan: TransferPlan
    data: tuple[str, ...]
    steps: int
    net: Network


@dataclass(frozen=True, kw_only=True)
class Stand:
    """What a rehearsal stands in for: a recipe on its data.

    Args:
        recipe: the recipe.
        search: the learning-rate search.
        cohorts: by role, as a run has them.
        channels: of the images.
        source: opened weights of the recipe, None for none.
        augment: what training images go through where a stage names nothing else.
    """

    recipe: Recipe
    search: Search
    cohorts: Mapping[str, Cohort]
    channels: int
    source: SourceWeights | None
    augment: Augment = field(default_factory=Augment)


def rehearse(stand: Stand) -> tuple[Rehearsed, ...]:
    """Return every stage of a recipe's procedure, with its plan, problems included; nothing is trained.

    Raises:
        ConfigError: the procedure, an objective or the network does not go with the study's data.
        PlanError: a tuning does not go with the steps of its stage; names recipe, data set and stage.
    """
    lab = _DryLab(stand)
    try:
        stand.recipe.procedure.run(lab)
    except _Unforeseen:
        lab.stop(UNFORESEEN)
    except AllograftError:
        raise
    except Exception as error:  # a procedure of the user's own: its runs will tell, each as a row
        lab.stop(f"{UNREHEARSED} ({type(error).__name__})")
    spec = stand.recipe.net
    if spec.decoder and not lab.dense:
        msg = f'net.decoder: "{spec.decoder}" does nothing where no task is a segmentation. Leave it empty.'
        raise ConfigError(msg)
    return tuple(lab.stages)


class _Unforeseen(Exception):  # noqa: N818 - no error: the end of what can be known beforehand
    """The procedure asks for values."""


@dataclass
class _DryLab:
    """The lab of a rehearsal."""

    stand: Stand
    stages: list[Rehearsed] = field(default_factory=list)
    dense: bool = False
    lineage: Lineage = field(default_factory=Lineage)

    @property
    def task(self) -> Task:
        return self.cohorts["train"].task

    @property
    def net(self) -> NetSpec:
        return self.stand.recipe.net

    @property
    def objective(self) -> Objective:
        return self.stand.recipe.objective

    @property
    def budget(self) -> Budget:
        return self.stand.recipe.budget

    @property
    def cohorts(self) -> Mapping[str, Cohort]:
        return self.stand.cohorts

    def seed(self, *names: str) -> int:
        return seed_for("rehearsal", *names)

    def start(
        self,
        *,
        source: SourceWeights | None = None,
        net: NetSpec | None = None,
        start: Start | None = None,
        tasks: Mapping[str, Task] | None = None,
        fresh: str = "",
    ) -> Started:
        """Build on the meta device and plan; problems are for the caller of the rehearsal."""
        tasks = tasks if tasks is not None else {self.task.head: self.task}
        spec = (net or self.net).for_tasks(tasks.values())
        self.dense = self.dense or bool(spec.decoder)
        source = source or self.stand.source
        built = build_network(
            spec,
            tasks,
            in_channels=self.stand.channels,
            seed=0,
            parts=catalog.parts(spec),
            device="meta",
            channel_names=self._channel_names,
        )
        try:
            plan = (start or self.stand.recipe.start).plan(built, source)
        except PlanError as error:
            after = f", after stage {self.stages[-1].stage}" if self.stages else ""
            raise PlanError(f"{self._who}{after}: {error}") from error
        self.lineage.began(built, plan, source)
        return Started(built, plan)

    @property
    def _channel_names(self) -> tuple[str, ...]:
        return self.cohorts["train"].channel_names(self.stand.channels)

    def source(self, net: Network, name: str) -> SourceWeights:
        """Return the shapes of a network as a source."""
        card = self.stand.source.card if self.stand.source else None
        channels, dims = self.stand.channels, net.shape.dims
        names = self._channel_names
        own = InputSpec(channels=channels, channel_names=names, axes="DHW" if dims == 3 else "HW")
        expects = card.expects.for_channels(channels, names).for_dims(dims) if card else own
        return self.lineage.source(net, name, spec=self.net, expects=expects, otherwise=Past(card))

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
        """Write the stage down with `learns` filled as its training will fill it; the network stays as it is."""
        chosen, given = objective or self.objective, {**self.cohorts, **(cohorts or {})}
        self._require_roles(chosen, given, stage)
        steps = max(1, round(self.budget.steps * share))
        plan = self._learnt(started.plan, tuning or self.stand.recipe.tuning, steps, stage, judged=is_judged(chosen))
        if sees_tested(given, (spec.role for spec in chosen.streams().values())):
            plan = plan.with_notes(TO_BE_SEEN)
        plan = plan.with_notes(*self._unused(augment or self.stand.augment, stage))
        read = data_read(chosen, given)
        self.lineage.learnt(started.net, read)
        self.stages.append(Rehearsed(stage, plan, read, steps, started.net))
        return started.net

    def _unused(self, augment: Augment, stage: str) -> tuple[str, ...]:
        """Say what of the augmentation does nothing to the images.

        Raises:
            ConfigError: it was asked for by name.
        """
        channels = self.stand.channels
        try:
            idle = augment.unused(channels)
        except ConfigError as error:
            raise ConfigError(f"{self._who}, stage {stage}: {error}") from error
        some = f"{channels} channel{'s' * (channels != 1)}"
        return tuple(f"augment: {name} of {augment.preset} is left out, images have {some}" for name in idle)

    def stop(self, note: str) -> None:
        """End here, and say so in the last plan."""
        if not self.stages:
            self.train("begin", self.start())
        last = self.stages[-1]
        self.stages[-1] = last._replace(plan=last.plan.with_notes(note))

    def score(self, net: Network) -> NoReturn:
        raise _Unforeseen

    def predict(self, stage: str, net: Network, cohort: Cohort) -> NoReturn:
        raise _Unforeseen

    def propose(self, stage: str, net: Network, cohort: Cohort, *, floor: float = 0.0) -> NoReturn:
        raise _Unforeseen

    def features(self, net: Network, cohort: Cohort, level: int = -1) -> NoReturn:
        raise _Unforeseen

    def elements(self, net: Network, cohort: Cohort, *, per_case: int, level: int = -1, seed: int = 0) -> NoReturn:
        raise _Unforeseen

    def fitted(self, stage: str, started: Started, fit: Callable[[Network], None], *, roles: Sequence[str]) -> Network:
        """Write the stage down; nothing of it learns by steps, and nothing is fitted."""
        missing = [role for role in roles if role not in self.cohorts]
        if missing:
            raise role_missing(f'recipe "{self.stand.recipe.name}", stage {stage}', stage, missing[0], self.cohorts)
        read = tuple(dict.fromkeys(self.cohorts[role].name for role in roles))
        self.lineage.learnt(started.net, read)
        self.stages.append(Rehearsed(stage, solved(started.plan), read, 0, started.net))
        return started.net

    def restate(self, net: Network, cohort: Cohort, *, passes: int = 1) -> None:
        return None

    def doubt(self, net: Network, cohort: Cohort, measure: Measure, *, passes: int = 0, seed: int = 0) -> NoReturn:
        raise _Unforeseen

    def pictures(self, cohort: Cohort) -> NoReturn:
        raise _Unforeseen

    def label(self, ids: Sequence[str], *, oracle: Literal["data", "person"] = "data") -> NoReturn:
        raise _Unforeseen

    def agreement(self, guess: Cohort) -> float | None:
        return None

    def milestone(self, stage: str, net: Network, labels: int) -> None:
        return None

    def report(self, stage: str, facts: Mapping[str, float | str | Sequence[float]]) -> None:
        return None

    def _require_roles(self, objective: Objective, cohorts: Mapping[str, Cohort], stage: str) -> None:
        for name, spec in objective.streams().items():
            if spec.role not in cohorts:
                raise role_missing(f'recipe "{self.stand.recipe.name}", stage {stage}', name, spec.role, cohorts)

    def _learnt(self, plan: TransferPlan, tuning: Tuning, steps: int, stage: str, *, judged: bool) -> TransferPlan:
        """Return the plan as it is trained with; a schedule must fit the shorter trials of the search too."""
        search = self.stand.search
        trial = search.trial_steps(steps) if judged else 0
        try:
            if trial:
                tuning.learn(plan, trial)
            return tuning.learn(plan, search.training_steps(steps) if judged else steps)
        except PlanError as error:
            split = f" ({steps} steps, of which each trial of the learning-rate search has {trial})" if trial else ""
            raise PlanError(f"{self._who}, stage {stage}{split}: {error}") from error

    @property
    def _who(self) -> str:
        return f'recipe "{self.stand.recipe.name}" on {self.cohorts["train"].name}'
