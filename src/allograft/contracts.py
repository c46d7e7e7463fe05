"""The seams on one screen: Start, Tuning, Objective, Criterion, Procedure, Lab.

Where does a new paper belong? Does it change the initial tensors: a start. How tensors learn: a
tuning. The loss of one step: an objective. Does it need a second training run or new labels: a
procedure. A layer goes to nets. If the answer is two of these, it is two small files and a recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import Field
from torch import Tensor, nn

from allograft.core.config import Config
from allograft.core.reference import Reference
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.data.cohort import Cohort
from allograft.data.predictions import Predictions
from allograft.nets.network import Network, Output
from allograft.nets.spec import NetSpec
from allograft.weights.plan import TransferPlan

if TYPE_CHECKING:
    from allograft.weights.source import SourceWeights

__all__ = [
    "HOUSE",
    "Budget",
    "Criterion",
    "Lab",
    "Loss",
    "Method",
    "Objective",
    "Optim",
    "Player",
    "Procedure",
    "Progress",
    "Start",
    "Started",
    "StreamSpec",
    "Streams",
    "TaskLoss",
    "Tuning",
    "Validate",
    "named_parts",
]

HOUSE = Reference(title="house method")


class Method(Config):
    """What every start, tuning, objective and procedure is: frozen, named, cited settings."""

    name: ClassVar[str]
    paper: ClassVar[Reference]


class Optim(Config):
    """An optimiser and its schedule.

    Args:
        name: "adamw", "adam" or "sgd" (momentum 0.9, Nesterov off).
        lr: peak learning rate, > 0; the search on validation may replace it.
        weight_decay: decoupled for adamw, >= 0; never applied to norm layers and biases.
        schedule: "cosine" to 0, "constant", or "poly" with power 0.9.
        warmup: share of the steps with a linear rise from 0, in [0, 1).
        clip: largest gradient norm, None for none.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["cosine", "constant", "poly"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)


class Budget(Config):
    """How much training a run may use; every arm of a study has the same.

    Args:
        steps: optimiser steps in all, the learning-rate search included.
        batch: cases in a step.
        evals: validations over the run, spread evenly.
        patience: validations without improvement before stopping, None never.
    """

    steps: int = Field(default=400, ge=1)
    batch: int = Field(default=32, ge=1)
    evals: int = Field(default=10, ge=1)
    patience: int | None = Field(default=None, ge=1)


class Progress(NamedTuple):
    """Where training is."""

    step: int
    total: int

    @property
    def fraction(self) -> float:
        """Progress in [0, 1]."""
        return self.step / max(1, self.total)


class Loss(NamedTuple):
    """What a step minimises; parts are detached, for the log."""

    total: Tensor
    parts: Mapping[str, Tensor]


class StreamSpec(NamedTuple):
    """What an objective reads: the cohort of `role`, `batch` cases a step (0: the budget's)."""

    role: str = "train"
    batch: int = 0
    views: int = 0
    labelled: bool = True


class Player(NamedTuple):
    """Who moves in a step; most criteria have one. `optim` None takes the recipe's."""

    name: str
    parameters: Sequence[nn.Parameter]
    optim: Optim | None = None
    turns: int = 1


class TaskLoss(Protocol):
    """The plain loss of a task."""

    def __call__(self, out: Output, batch: Batch) -> Loss:
        """Return the loss over the cases whose target is present."""


class Criterion(nn.Module):
    """The live half of an objective; may own modules, keeps all state in buffers and parameters."""

    def players(self, nets: Mapping[str, Network]) -> tuple[Player, ...]:
        """Return who moves; by default the networks and the criterion's own modules, together."""
        own = [*self.parameters(), *(p for net in nets.values() for p in net.parameters())]
        return (Player("all", own),)

    def forward(self, nets: Mapping[str, Network], batch: Mapping[str, Batch], at: Progress, player: str) -> Loss:
        """Return the loss that `player` minimises."""
        raise NotImplementedError

    def after_step(self, nets: Mapping[str, Network], at: Progress) -> None:
        """Do what follows a step (moving averages); by default nothing."""

    def result(self, nets: Mapping[str, Network]) -> Network:
        """Return the network that is validated and handed on; by default the only one."""
        return nets["net"]


@runtime_checkable
class Start(Protocol):
    """How weights begin."""

    name: ClassVar[str]
    paper: ClassVar[Reference]

    def plan(self, net: Network, source: SourceWeights | None) -> TransferPlan:
        """Return the plan; change nothing. Works on the meta device."""


@runtime_checkable
class Tuning(Protocol):
    """How entries learn."""

    name: ClassVar[str]
    paper: ClassVar[Reference]

    def learn(self, plan: TransferPlan, steps: int) -> TransferPlan:
        """Return the plan with `learns` filled for a run of `steps`."""

    def penalty(self, net: Network, plan: TransferPlan) -> nn.Module | None:
        """Return a module whose forward(net) gives a scalar added to the loss, or None."""


@runtime_checkable
class Objective(Protocol):
    """What a step minimises: frozen settings that build a `Criterion` on the worker."""

    name: ClassVar[str]
    paper: ClassVar[Reference]

    def streams(self) -> Mapping[str, StreamSpec]:
        """Return the named streams that a step reads."""

    def build(self, nets: Mapping[str, Network], task: Task) -> Criterion:
        """Return the live criterion; called after the plan was applied."""


class Started(NamedTuple):
    """A network with the plan that made it."""

    net: Network
    plan: TransferPlan


@runtime_checkable
class Procedure(Protocol):
    """In what order stages follow."""

    name: ClassVar[str]
    paper: ClassVar[Reference]

    def run(self, lab: Lab) -> Network:
        """Run the stages and return the network to be judged."""


class Lab(Protocol):
    """Everything that a procedure may touch; the test cohort is not in it."""

    @property
    def task(self) -> Task:
        """What is to be predicted."""

    @property
    def net(self) -> NetSpec:
        """The recipe's network."""

    @property
    def objective(self) -> Objective:
        """The recipe's objective."""

    @property
    def budget(self) -> Budget:
        """The recipe's budget."""

    @property
    def cohorts(self) -> Mapping[str, Cohort]:
        """Cases by role: "train", "val", "unlabelled", and of auxiliary data "NAME" and "val:NAME"; never test."""

    def start(
        self,
        *,
        source: SourceWeights | None = None,
        net: NetSpec | None = None,
        start: Start | None = None,
        tasks: Mapping[str, Task] | None = None,
    ) -> Started:
        """Build, plan and apply; what is not given is the recipe's. Without a mask among `tasks`, no decoder."""

    def source(self, net: Network, name: str) -> SourceWeights:
        """Return a network of this run as a source for the next stage, which goes through a plan like any other."""

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
        """Train one stage on `share` of the recipe's steps; a finished stage returns at once."""

    def predict(self, stage: str, net: Network, cohort: Cohort) -> Predictions:
        """Predict without augmentation or noise; kept under the stage's name."""

    def label(self, ids: Sequence[str]) -> Cohort:
        """Ask the oracle for labels; may raise Pending when a person is asked."""

    def seed(self, *names: str) -> int:
        """Return a seed of this run for a named draw."""


class Streams(Protocol):
    """Named, endless batches: a pure function of seed and step."""

    def at(self, step: int) -> Mapping[str, Batch]:
        """Return one batch per stream for `step` (0, 1, ...)."""


class Validate(Protocol):
    """Scores a network on validation; larger is better."""

    def __call__(self, net: Network) -> Mapping[str, float]:
        """Return values by name; "score" decides, larger is better."""


def named_parts(loss: Loss) -> Iterator[tuple[str, float]]:
    """Yield the loss and its parts as numbers."""
    yield "loss", float(loss.total.detach())
    for name, part in loss.parts.items():
        yield name, float(part)
