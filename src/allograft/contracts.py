"""The seams on one screen: Start, Tuning, Objective, Criterion, Procedure, Lab.

Where does a new paper belong? Does it change the initial tensors: a start. How tensors learn: a
tuning. The loss of one step: an objective. Does it need a second training run or new labels: a
procedure. A layer goes to nets. If the answer is two of these, it is two small files and a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from allograft.core.budget import Budget, Optim
from allograft.core.config import Config
from allograft.core.reference import Reference
from allograft.core.stream_spec import StreamSpec
from allograft.core.task import Task
from allograft.data.case import Batch
from allograft.data.cohort import Cohort
from allograft.data.elements import Elements
from allograft.data.predictions import Predictions
from allograft.data.transforms.augment import Augment
from allograft.functional.uncertainty import Measure
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
    "Paired",
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
]

HOUSE = Reference(title="house method")


class Method(Config):
    """What every start, tuning, objective and procedure is: frozen, named, cited settings."""

    name: ClassVar[str]
    paper: ClassVar[Reference]


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


@runtime_checkable
class Paired(Protocol):
    """An objective that trains further networks beside the recipe's own, which is always called "net"."""

    def partners(self, net: NetSpec) -> Mapping[str, NetSpec]:
        """Return the further networks by name; each starts like the recipe's, with other fresh values.

        One whose encoder is another than the recipe's begins from scratch: the recipe's weights do not fit it.
        """


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
        """Build, plan and apply; what is not given is the recipe's. No mask in `tasks`: no decoder; none: no head."""

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
        augment: Augment | None = None,
    ) -> Network:
        """Train one stage on `share` of the recipe's steps; a finished stage returns at once.

        Its images go through `augment`, None for the recipe's. Where the recipe's may not mirror, it does not either.
        """

    def score(self, net: Network) -> float:
        """Return what validation says of a network; larger is better."""

    def predict(self, stage: str, net: Network, cohort: Cohort) -> Predictions:
        """Predict without augmentation or noise; kept under the stage's name."""

    def propose(self, stage: str, net: Network, cohort: Cohort, *, floor: float = 0.0) -> Cohort:
        """Return the cases with the network's masks as targets; elements below the probability `floor` weigh 0."""

    def features(self, net: Network, cohort: Cohort, level: int = -1) -> npt.NDArray[np.float32]:
        """Return (N, F): one of the encoder's levels, averaged over positions, of each case in order."""

    def elements(self, net: Network, cohort: Cohort, *, per_case: int, level: int = -1, seed: int = 0) -> Elements:
        """Draw at most `per_case` elements of each whole image, of one with a mask every class equally often."""

    def fitted(self, stage: str, started: Started, fit: Callable[[Network], None], *, roles: Sequence[str]) -> Network:
        """Keep a stage that `fit` writes at once, without steps, from cases of `roles`; a finished one is read."""

    def restate(self, net: Network, cohort: Cohort, *, passes: int = 1) -> None:
        """Measure the running statistics of batch norms anew on `passes` over a cohort's images; no weight moves."""

    def doubt(
        self, net: Network, cohort: Cohort, measure: Measure, *, passes: int = 0, seed: int = 0
    ) -> npt.NDArray[np.float64]:
        """Return (N,): a measure of each case's probabilities, of a mask their mean; `passes` with dropout at work."""

    def pictures(self, cohort: Cohort) -> Iterator[npt.NDArray[np.float32]]:
        """Yield (H, W) grey values of each case as it is stored, of a volume its middle slice."""

    def label(self, ids: Sequence[str], *, oracle: Literal["data", "person"] = "data") -> Cohort:
        """Ask the data, or a person, for labels of unlabelled cases; raises Pending while a person has not answered."""

    def agreement(self, guess: Cohort) -> float | None:
        """Return the share of proposed classes that are true, where truth is known; for reports only."""

    def milestone(self, stage: str, net: Network, labels: int) -> None:
        """Have this network tested too, when the run is over: what `labels` labelled cases led to."""

    def report(self, stage: str, facts: Mapping[str, float | str | Sequence[float]]) -> None:
        """Keep facts about a stage for the run's record."""

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
