"""Streams: named, endless batches, each a pure function of (seed, step).

Nothing is remembered between steps. The order of cases, the draws of every augmentation and so
the batch itself are derived from the seed, the stream's name and the step, so a run that stops
anywhere goes on exactly where it was, and recipes that share a seed see the same cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from allograft.core.errors import ConfigError, DataError
from allograft.core.seeds import seed_for
from allograft.core.task import Task
from allograft.data.case import Batch, Case, ImageRef, View
from allograft.data.cohort import Cohort
from allograft.data.normalise import Normaliser
from allograft.data.order import balanced_places, places
from allograft.data.store import Store
from allograft.data.targets import check_targets, is_soft, mask_targets, number_targets
from allograft.data.transforms.augment import Augment
from allograft.data.transforms.transform import Draw

__all__ = ["Roster", "StoreStreams", "StreamSource"]


@dataclass(frozen=True, kw_only=True)
class Roster:
    """Who comes when, and with which targets; what image and feature streams share.

    Args:
        cohort: the cases.
        batch: cases in a step, >= 1; may exceed the number of cases.
        labelled: whether targets are handed out; otherwise they are never looked at.
        balance: every class equally often, for binary and multi-class tasks.
        tasks: heads to hand out targets for; empty means the cohort's own task.
        weights: weight of the loss by case id, 1 where missing; None hands out no weights.
    """

    cohort: Cohort
    batch: int
    labelled: bool = True
    balance: bool = False
    tasks: tuple[Task, ...] = ()
    weights: Mapping[str, float] | None = None

    def check(self, name: str) -> None:
        """Refuse what could not work, before the first step.

        Raises:
            ConfigError: a batch of 0, or balance where there are no classes to balance.
            DataError: no cases, no labels in a labelled stream, or a target that does not fit.
        """
        if self.batch < 1:
            msg = f"stream {name!r}: batch must be at least 1, got {self.batch}."
            raise ConfigError(msg)
        if not self.cohort.cases:
            msg = f"stream {name!r}: cohort {self.cohort.name} has no cases. Check the split and the filters."
            raise DataError(msg)
        if self.balance and (not self.labelled or self.cohort.task.kind not in {"binary", "multiclass"}):
            kind = self.cohort.task.kind if self.labelled else "unlabelled"
            msg = f"stream {name!r}: balance needs labels of a binary or multi-class task, this stream is {kind}."
            raise ConfigError(msg)
        if not self.labelled:
            return
        for task in self.heads:
            check_targets(self.cohort.cases, task, where=f"stream {name!r}")
        if not any(task.head in case.targets for case in self.cohort for task in self.heads):
            heads = ", ".join(task.head for task in self.heads)
            msg = f"stream {name!r}: none of {len(self.cohort)} cases has a target for {heads}. Check the label column."
            raise DataError(msg)

    @property
    def heads(self) -> tuple[Task, ...]:
        """The tasks whose targets are handed out."""
        return self.tasks or (self.cohort.task,)

    def cases(self, seed: int, name: str, step: int) -> list[Case]:
        """Return the `batch` cases of a step."""
        if self.balance:
            found = balanced_places(seed, name, self._classes, self.batch, step)
        else:
            found = places(seed, name, len(self.cohort), self.batch, step)
        return [self.cohort.cases[i] for i in found]

    def numbers(self, cases: Sequence[Case]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return targets and their presence by head, all but masks; empty where unlabelled."""
        targets, present = {}, {}
        if self.labelled:
            for task in self.heads:
                if task.kind != "segmentation":
                    soft = self._soft[task.head]
                    targets[task.head], present[task.head] = number_targets(cases, task, soft=soft)
        return targets, present

    def weight(self, cases: Sequence[Case]) -> Tensor | None:
        """Return (B,) weights, or None."""
        if self.weights is None:
            return None
        return torch.tensor([self.weights.get(case.id, 1.0) for case in cases], dtype=torch.float32)

    @cached_property
    def _soft(self) -> dict[str, bool]:
        return {task.head: is_soft(self.cohort.cases, task) for task in self.heads}

    @cached_property
    def _classes(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the cases of each class that occurs; unlabelled cases take no part."""
        task = self.cohort.task
        members: dict[int, list[int]] = {}
        for i, case in enumerate(self.cohort.cases):
            value = case.targets.get(task.head)
            if value is not None and not isinstance(value, ImageRef):
                index = _likeliest(value)
                members.setdefault(index, []).append(i)
        return tuple(tuple(members[k]) for k in sorted(members))


@dataclass(frozen=True, kw_only=True)
class StreamSource(Roster):
    """One stream of images.

    Args:
        store: holds (at least) the cohort's images.
        augment: acts on every image; masks follow.
        views: further copies of each image, each with its own draws.
        normalise: brings stored values to what the weights expect; acts last.
    """

    store: Store
    augment: Augment = field(default_factory=Augment)
    views: int = 0
    normalise: Normaliser = field(default_factory=Normaliser)


class StoreStreams:
    """Batches from stores.

    Args:
        sources: by stream name.
        seed: of the run; the recipe is not part of it, so recipes see the same cases.

    Raises:
        ConfigError: a source contradicts itself.
        DataError: a source has no cases, lacks a case in its store, or holds a wrong target.
    """

    def __init__(self, sources: Mapping[str, StreamSource], *, seed: int) -> None:
        self.sources = dict(sources)
        self.seed = seed
        for name, source in self.sources.items():
            source.check(name)
            missing = set(source.cohort.ids) - set(source.store.index.ids)
            if missing:
                msg = f"stream {name!r}: {len(missing)} cases are not in its store, first {min(missing)!r}."
                raise DataError(msg)

    def at(self, step: int) -> Mapping[str, Batch]:
        """Return one batch per stream for `step` (0, 1, ...)."""
        return {name: self._batch(name, source, step) for name, source in self.sources.items()}

    def _batch(self, name: str, source: StreamSource, step: int) -> Batch:
        cases = source.cases(self.seed, name, step)
        ids = tuple(case.id for case in cases)
        stored = torch.from_numpy(source.store.rows(ids))
        draws = self._draws(name, source, step, ids, view=0)
        targets, present = source.numbers(cases)
        for task in source.heads:
            if source.labelled and task.kind == "segmentation":
                masks, present[task.head] = mask_targets(cases, task, source.store)
                targets[task.head] = source.augment.apply_batch(masks[:, None], draws, mask=True)[:, 0]
        views = []
        for view in range(1, source.views + 1):
            own = self._draws(name, source, step, ids, view=view)
            views.append(View(source.normalise(source.augment.apply_batch(stored, own)), tuple(own)))
        return Batch(
            image=source.normalise(source.augment.apply_batch(stored, draws)),
            targets=targets,
            present=present,
            weight=source.weight(cases),
            views=tuple(views),
            ids=ids,
        )

    def _draws(self, name: str, source: StreamSource, step: int, ids: Sequence[str], *, view: int) -> list[Draw]:
        """Return one draw per element, by its id and not by its neighbours or its place."""
        if not source.augment.steps:
            return [{"steps": []}] * len(ids)
        seen: Counter[str] = Counter()
        out: list[Draw] = []
        for case_id in ids:
            seed = seed_for(self.seed, name, "augment", step, view, case_id, seen[case_id])
            seen[case_id] += 1
            out.append(source.augment.draw(np.random.default_rng(seed), source.store.shape))
        return out


def _likeliest(value: float | tuple[int, ...]) -> int:
    return value.index(max(value)) if isinstance(value, tuple) else int(value)
