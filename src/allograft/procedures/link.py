"""Link: one stage on auxiliary data before the task's own, and what it hands on; shared by pretrain and continual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field, field_validator

from allograft.contracts import Lab, Objective, Start, Tuning
from allograft.core.config import Config
from allograft.core.errors import ConfigError
from allograft.core.named import Named
from allograft.data.cohort import Cohort
from allograft.nets.network import Network
from allograft.objectives.multi_head import MultiHead
from allograft.starts.full import Full
from allograft.tunings.full import FullTuning
from allograft.weights.plan import Entry
from allograft.weights.source import SourceWeights

__all__ = ["Handed", "Link", "different", "finish", "follow", "require_known"]


class Handed(NamedTuple):
    """What a stage starts from; nothing means the recipe's own start and source."""

    source: SourceWeights | None = None
    move: Start | None = None
    stage: str = ""


class Link(Config):
    """One link of a chain: auxiliary data that the network learns before it goes on.

    Args:
        on: auxiliary data sets of the study, at least one; several are learnt at once, one head each.
        share: of the recipe's steps, in (0, 1).
        objective: what a step minimises; None the plain loss of each data set (multi_head). Another objective
            reads one data set, as "train".
        tuning: how the entries learn; None all of them.
        move: the start that carries the trained network over to the next stage.
    """

    on: tuple[str, ...] = Field(min_length=1)
    share: float = Field(gt=0, lt=1)
    objective: Annotated[Objective | None, Named("objective")] = None
    tuning: Annotated[Tuning | None, Named("tuning")] = None
    move: Annotated[Start, Named("start")] = Full()

    @field_validator("on")
    @classmethod
    def _different(cls, on: tuple[str, ...]) -> tuple[str, ...]:
        return different(on)


def different(on: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a data set that is named twice; pydantic places the error in the file."""
    if len(set(on)) != len(on):
        msg = f"names a data set twice: {list(on)}"
        raise ValueError(msg)
    return on


def require_known(lab: Lab, on: tuple[str, ...], *, who: str) -> None:
    """Refuse data sets that the study does not have as auxiliary, and none at all.

    Raises:
        ConfigError: names those that it has.
    """
    known = sorted(role.removeprefix("val:") for role in lab.cohorts if role.startswith("val:"))
    if not on or any(name not in known for name in on):
        msg = (
            f"{who}: on names {list(on) or 'nothing'}; the study's auxiliary data sets are "
            f"{', '.join(known) or 'none'}. List the data under auxiliary: in the study."
        )
        raise ConfigError(msg)


def follow(lab: Lab, link: Link, handed: Handed, *, stage: str, who: str) -> Handed:
    """Train one link from what the stage before handed on; return what this one hands on.

    Args:
        lab: the lab.
        link: the link.
        handed: by the stage before; `Handed()` for the first.
        stage: its name in the run.
        who: the procedure, for errors.

    Raises:
        ConfigError: a data set is not auxiliary, the objective cannot read it, or nothing is carried over.
    """
    require_known(lab, link.on, who=who)
    tasks = {name: lab.cohorts[name].task for name in link.on}
    started = lab.start(source=handed.source, start=handed.move, tasks=tasks)
    _require_carried(handed, started.plan.entries, who)
    net = lab.train(
        stage,
        started,
        objective=link.objective or MultiHead(heads=link.on, batch=max(1, lab.budget.batch // len(link.on))),
        cohorts=_read(lab, link, stage, who),
        tuning=link.tuning or FullTuning(),
        share=link.share,
    )
    return Handed(lab.source(net, stage), link.move, stage)


def finish(lab: Lab, handed: Handed, *, share: float, who: str) -> Network:
    """Train the task in a stage called "finetune" from what was handed on; return the network."""
    started = lab.start(source=handed.source, start=handed.move)
    _require_carried(handed, started.plan.entries, who)
    return lab.train("finetune", started, share=share)


def _read(lab: Lab, link: Link, stage: str, who: str) -> Mapping[str, Cohort] | None:
    """Return the cohorts that an objective of the link's own reads; `multi_head` reads them under their names."""
    if link.objective is None:
        return None
    if len(link.on) != 1:
        msg = f"{who}: {stage} names an objective of its own, which reads one data set; on names {list(link.on)}."
        raise ConfigError(msg)
    return {"train": lab.cohorts[link.on[0]], "val": lab.cohorts[f"val:{link.on[0]}"]}


def _require_carried(handed: Handed, entries: Sequence[Entry], who: str) -> None:
    """Refuse a start that takes nothing of the stage before: its steps would be lost without a word."""
    if handed.source is not None and not any(entry.source for entry in entries):
        move = handed.move.name if handed.move is not None else "the recipe's start"
        msg = f'{who}: move "{move}" takes nothing from {handed.stage}. Use one that does, such as full or partial.'
        raise ConfigError(msg)
