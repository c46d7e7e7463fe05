"""Recipe: which network, started how, minimising what, in what order of stages."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from allograft import catalog
from allograft.contracts import Budget, Objective, Optim, Procedure, Start, Tuning
from allograft.core.config import Config
from allograft.core.named import Named
from allograft.data.transforms.augment import Augment
from allograft.nets.spec import NetSpec
from allograft.objectives.supervised import Supervised
from allograft.procedures.finetune import Finetune
from allograft.starts.scratch import Scratch
from allograft.study.shift import Learn
from allograft.tunings.full import FullTuning

__all__ = ["Recipe", "SelectBy"]

SelectBy = Literal["metric", "loss", "entropy", "importance"]
"""What validation chooses by: with labels "metric" or "loss"; under a shift also without target labels "entropy" of the
target's predictions, or "importance", the source's loss weighted towards the target."""


class Recipe(Config):
    """One arm of a study.

    Method fields take a name ("mean_var"), a name with settings ({"partial": {"until": "stage2"}})
    or, in Python, the method itself (`MeanVar(norm="copy")`).

    Args:
        name: the arm's name in tables, unique in a study.
        net: which network.
        source: a weight card's name, a card's YAML path or a finished run's folder; None for none.
        start: how weights begin.
        tuning: how they learn.
        objective: what a step minimises.
        procedure: in what order stages follow.
        optim: optimiser; its rate is used where the study's search names no candidates.
        budget: steps, batch and validations; the search is paid out of the steps.
        augment: "none", "light", "strong" or "geometric"; None takes the study's. Recipes whose encoder is frozen
            train on features of the plain images where this is "none".
        learn: where a data set has a `shift`, whose labels it learns from: "source", "target" (all of its training
            cases: the upper bound), "few" (`shift.labels` of these) or "both" (source and few). Else None.
        select_by: what validation chooses weights and rates by, see `Study`; None takes the study's.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")
    net: NetSpec
    source: str | None = None
    start: Annotated[Start, Named("start")] = Scratch()
    tuning: Annotated[Tuning, Named("tuning")] = FullTuning()
    objective: Annotated[Objective, Named("objective")] = Supervised()
    procedure: Annotated[Procedure, Named("procedure")] = Finetune()
    optim: Optim = Optim()
    budget: Budget = Budget()
    augment: Augment | None = None
    learn: Learn | None = None
    select_by: SelectBy | None = None

    @model_validator(mode="after")
    def _source_is_used(self) -> Self:
        if self.source is None and self.start.name not in catalog.NEEDS_NO_SOURCE:
            msg = f'recipe "{self.name}": start "{self.start.name}" needs a source. Add one (allograft weights list)'
            raise ValueError(msg)
        if self.source is not None and self.start.name == "scratch":
            msg = f'recipe "{self.name}": start "scratch" uses no weights, but source is "{self.source}". Remove one'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _anchors_are_written(self) -> Self:
        if self.net.anchors:
            msg = f'recipe "{self.name}": net.anchors is set by procedures that write a kernel head (tca). Leave it out'
            raise ValueError(msg)
        return self
