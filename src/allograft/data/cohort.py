"""Cohort: an immutable list of cases with the task they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from allograft.core.errors import DataError
from allograft.core.task import Task
from allograft.data.case import Case, Target
from allograft.data.io.format import ENDINGS, ending_of
from allograft.data.proposals import Proposals

__all__ = ["COLOURS", "Cohort"]

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Cohort:
    """Cases in a fixed order.

    Args:
        name: name of the data set.
        task: what is to be predicted.
        cases: the cases; ids are unique.
        unit: what one `group` is: "patient", "strip", "scan", "case" ...
        notes: sentences that a report must carry ("strips of one image").
        seen_as: names under which weight cards may list this data (contamination).
        weights: what each case counts for in a loss, by id, 1 where missing; None for all alike.
        proposals: the masks of cases that a network labelled, None where people did.
        also: further heads whose targets its cases carry, learnt beside the task and never scored.
        channels: what the channels of its images mean, in order ("t1", "flair"); empty where unknown.

    Raises:
        DataError: two cases share an id.
    """

    name: str
    task: Task
    cases: tuple[Case, ...]
    unit: str = "patient"
    notes: tuple[str, ...] = ()
    seen_as: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None
    proposals: Proposals | None = None
    channels: tuple[str, ...] = ()
    also: tuple[Task, ...] = ()

    def __post_init__(self) -> None:
        if len(self._by_id) != len(self.cases):
            twice = [name for name, count in Counter(case.id for case in self.cases).items() if count > 1]
            msg = f"cohort {self.name}: {len(twice)} ids occur more than once, first {twice[0]!r}. Ids must be unique."
            raise DataError(msg)

    @cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.id: case for case in self.cases}

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __getitem__(self, name: str) -> Case:
        return self._by_id[name]

    def channel_names(self, channels: int) -> tuple[str, ...]:
        """Return what the channels of its images mean where they have this many, empty where that is unknown.

        Pictures in colour are read as red, green and blue.
        """
        if len(self.channels) == channels:
            return self.channels
        first = self.cases[0].image if self.cases and not self.channels else ()
        colour = channels == len(COLOURS) and len(first) == 1 and ENDINGS.get(ending_of(first[0].path)) == "raster"
        return COLOURS if colour else ()

    def where(self, keep: Callable[[Case], bool]) -> Cohort:
        """Return the cases for which `keep` holds, in the same order."""
        return replace(self, cases=tuple(case for case in self.cases if keep(case)))

    def subset(self, ids: Iterable[str]) -> Cohort:
        """Return the named cases in the cohort's own order.

        Raises:
            DataError: an id is not in the cohort.
        """
        wanted = set(ids)
        unknown = sorted(wanted - self._by_id.keys())
        if unknown:
            msg = f"cohort {self.name}: no case {unknown[0]!r} ({len(unknown)} unknown ids)."
            raise DataError(msg)
        return self.where(lambda case: case.id in wanted)

    def with_targets(self, targets: Mapping[str, Mapping[str, Target]]) -> Cohort:
        """Return the cohort with each named case's targets replaced (pseudo-labels)."""
        return replace(
            self, cases=tuple(replace(c, targets=targets[c.id]) if c.id in targets else c for c in self.cases)
        )

    def without_targets(self) -> Cohort:
        """Return the cohort with all labels left out."""
        return replace(self, cases=tuple(replace(case, targets={}) for case in self.cases))

    def without_labels(self) -> Cohort:
        """Return the cohort with the task's labels left out; what its cases carry for further heads stays."""
        heads = {task.head for task in self.also}
        kept = ({head: value for head, value in case.targets.items() if head in heads} for case in self.cases)
        return replace(self, cases=tuple(replace(c, targets=t) for c, t in zip(self.cases, kept, strict=True)))

    def under_head(self, head: str) -> Cohort:
        """Return the cohort with its task's head and targets renamed; other targets are left out."""
        old = self.task.head
        cases = (replace(c, targets={head: c.targets[old]} if old in c.targets else {}) for c in self.cases)
        return replace(self, task=self.task.model_copy(update={"head": head}), cases=tuple(cases), also=())

    @property
    def ids(self) -> tuple[str, ...]:
        """Case ids in order."""
        return tuple(case.id for case in self.cases)

    @property
    def groups(self) -> tuple[str, ...]:
        """Different groups in order of first appearance."""
        return tuple(dict.fromkeys(case.group for case in self.cases))

    def labelled(self) -> Cohort:
        """Return the cases that carry the task's target."""
        return self.where(lambda case: self.task.head in case.targets)
