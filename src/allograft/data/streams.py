"""Streams: named, endless batches, each a pure function of (seed, step).

Nothing is remembered between steps. The order of cases, the draws of every augmentation and so
the batch itself are derived from the seed, the stream's name and the step, so a run that stops
anywhere goes on exactly where it was, and recipes that share a seed see the same cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

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
from allograft.data.patch_stream import (
    Corner,
    check_patches,
    check_store,
    check_whole,
    draw_corner,
    read_image,
    read_mask,
)
from allograft.data.patches import Patches
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
        patches: hand out a patch of each image instead of the whole; masks are cut alike and hold -1,
            which no loss sees, outside the image.
        augment: acts on every image, or on every patch; masks follow. What a transform brings in from
            beyond the border is the same for both: reflected or repeated elements with their labels,
            or with `padding: zeros` the value 0 and the background.
        views: further copies of each image, each with its own draws; of patches, copies of the same
            patch, so that an objective may compare or restore them.
        normalise: brings stored values to what the weights expect; acts last.
    """

    store: Store
    patches: Patches | None = None
    augment: Augment = field(default_factory=Augment)
    views: int = 0
    normalise: Normaliser = field(default_factory=Normaliser)

    def check(self, name: str) -> None:
        """Refuse what could not work, before the first step.

        Raises:
            ConfigError: as `Roster`; or patches have other axes than the images, have no class to be
                centred on, or would carry labels of whole images.
            DataError: as `Roster`; or the store lacks a case or a mask, or images differ in size
                and there are no patches.
        """
        super().check(name)
        check_store(name, self.store, self.cohort.cases, [task.head for task in self.masked])
        if self.patches is None:
            check_whole(name, self.store)
            return
        if self.labelled and not self.masked:
            kinds = ", ".join(task.kind for task in self.heads)
            msg = (
                f"stream {name!r}: patches are parts of images, and a label of a whole image ({kinds}) need not hold "
                "for a part. Use whole images (preprocess.size), or a segmentation task."
            )
            raise ConfigError(msg)
        check_patches(name, self.store, self.patches, self.cohort.cases, [task.head for task in self.masked])

    @property
    def masked(self) -> tuple[Task, ...]:
        """The tasks whose masks are handed out."""
        return tuple(task for task in self.heads if self.labelled and task.kind == "segmentation")

    def images(self, cases: Sequence[Case], corners: Sequence[Corner]) -> Tensor:
        """Return (B, C, *S) stored values: whole images, or the patches that begin at `corners`."""
        if self.patches is None:
            return torch.from_numpy(self.store.rows([case.id for case in cases]))
        out = np.empty((len(cases), self.store.channels, *self.patches.size), np.float32)
        for i, (case, corner) in enumerate(zip(cases, corners, strict=True)):
            out[i] = read_image(self.store, case.id, corner, self.patches.size)
        return torch.from_numpy(out)

    def masks(self, cases: Sequence[Case], task: Task, corners: Sequence[Corner]) -> tuple[Tensor, Tensor]:
        """Return (B, *S) long masks of the same places, zeros where absent, and (B,) whether they are there."""
        if self.patches is None:
            return mask_targets(cases, task, self.store)
        present = torch.tensor([task.head in case.targets for case in cases], dtype=torch.bool)
        out = np.zeros((len(cases), *self.patches.size), np.int64)
        for i, (case, corner) in enumerate(zip(cases, corners, strict=True)):
            if present[i]:
                out[i] = read_mask(self.store, case.id, task.head, corner, self.patches.size)
        return torch.from_numpy(out), present

    def spacing(self, cases: Sequence[Case]) -> Tensor | None:
        """Return (B, dims) distances between elements, None without masks."""
        if not self.masked:
            return None
        return torch.tensor([self.store.placement(case.id).spacing for case in cases], dtype=torch.float32)


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

    def at(self, step: int) -> Mapping[str, Batch]:
        """Return one batch per stream for `step` (0, 1, ...)."""
        return {name: self._batch(name, source, step) for name, source in self.sources.items()}

    def _batch(self, name: str, source: StreamSource, step: int) -> Batch:
        cases = source.cases(self.seed, name, step)
        ids = tuple(case.id for case in cases)
        corners = self._corners(name, source, step, cases)
        stored = source.images(cases, corners)
        draw = partial(self._draws, name, source, step, ids, shape=tuple(stored.shape[1:]))
        draws = draw(view=0)
        targets, present = source.numbers(cases)
        for task in source.masked:
            masks, present[task.head] = source.masks(cases, task, corners)
            targets[task.head] = source.augment.apply_batch(masks[:, None], draws, mask=True)[:, 0]
        views = []
        for view in range(1, source.views + 1):
            own = draw(view=view)
            views.append(View(source.normalise(source.augment.apply_batch(stored, own)), tuple(own)))
        return Batch(
            image=source.normalise(source.augment.apply_batch(stored, draws)),
            targets=targets,
            present=present,
            weight=source.weight(cases),
            spacing=source.spacing(cases),
            views=tuple(views),
            ids=ids,
        )

    def _corners(self, name: str, source: StreamSource, step: int, cases: Sequence[Case]) -> list[Corner]:
        """Return where each element's patch begins, none where whole images are used."""
        if source.patches is None:
            return []
        out = []
        for case, seed in zip(cases, self._seeds(name, "patch", step, 0, [case.id for case in cases]), strict=True):
            heads = [task.head for task in source.masked if task.head in case.targets]
            out.append(draw_corner(np.random.default_rng(seed), source.store, case.id, source.patches, heads))
        return out

    def _draws(
        self, name: str, source: StreamSource, step: int, ids: Sequence[str], *, shape: tuple[int, ...], view: int
    ) -> list[Draw]:
        """Return one augmentation for each element, an image of `shape` (C, *S)."""
        if not source.augment.steps:
            return [{"steps": []}] * len(ids)
        seeds = self._seeds(name, "augment", step, view, ids)
        return [source.augment.draw(np.random.default_rng(seed), shape) for seed in seeds]

    def _seeds(self, name: str, what: str, step: int, view: int, ids: Sequence[str]) -> Iterator[int]:
        """Yield a seed for each element, by its id and not by its neighbours or its place."""
        seen: Counter[str] = Counter()
        for case_id in ids:
            yield seed_for(self.seed, name, what, step, view, case_id, seen[case_id])
            seen[case_id] += 1


def _likeliest(value: float | tuple[int, ...]) -> int:
    return value.index(max(value)) if isinstance(value, tuple) else int(value)
