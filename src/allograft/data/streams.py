"""Streams: named, endless batches, each a pure function of (seed, step).

Nothing is remembered between steps. The order of cases, the draws of every augmentation and so
the batch itself are derived from the seed, the stream's name and the step, so a run that stops
anywhere goes on exactly where it was, and recipes that share a seed see the same cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.core.seeds import seed_for
from allograft.core.stream_spec import Another
from allograft.core.task import Task
from allograft.data.case import Batch, Case, View
from allograft.data.normalise import Normaliser
from allograft.data.partners import Pairs, check_grids, other_cases, pair_cases
from allograft.data.patch_stream import (
    IGNORED,
    Corner,
    check_patches,
    check_store,
    check_whole,
    draw_corner,
    read_cut,
    read_image,
)
from allograft.data.patches import Patches
from allograft.data.roster import Roster
from allograft.data.store import Store
from allograft.data.targets import mask_targets
from allograft.data.transforms.augment import Augment
from allograft.data.transforms.transform import Draw

__all__ = ["StoreStreams", "StreamSource"]


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
        view_augment: acts on the views; None is `augment`.
        in_place: make the views of the augmented image, not of the stored one, so that elements stay where they are
            wherever `view_augment` moves none.
        normalise: brings stored values to what the weights expect; acts last.
        like: name of another source: hand out the partner of each of its cases, in its order, of the same place and
            by the same draws; where a case has several (one of each domain), one is drawn.
        match: attributes in which partners agree besides their group.
        another: the partner is another case of the group, with draws of its own; None the case that shows the same.
    """

    store: Store
    patches: Patches | None = None
    augment: Augment = field(default_factory=Augment)
    views: int = 0
    view_augment: Augment | None = None
    in_place: bool = False
    normalise: Normaliser = field(default_factory=Normaliser)
    like: str = ""
    match: tuple[str, ...] = ()
    another: Another | None = None

    def check(self, name: str) -> None:
        """Refuse what could not work, before the first step.

        Raises:
            ConfigError: as `Roster`; or patches have other axes than the images, have no class to be
                centred on, or would carry labels of whole images.
            DataError: as `Roster`; or the store lacks a case or a mask, or images differ in size
                and there are no patches.
        """
        super().check(name)
        drawn = [task.head for task in self.masked if self.cohort.proposals is None]
        check_store(name, self.store, self.cohort.cases, drawn)
        if self.patches is None:
            check_whole(name, self.store)
            return
        flat = [task for task in self.heads if task.kind != "segmentation"]
        covered = self.store.uniform and all(
            p >= n for p, n in zip(self.patches.size, self.store.shape[1:], strict=True)
        )
        if self.labelled and flat and not covered:
            kinds = ", ".join(task.kind for task in flat)
            msg = (
                f"stream {name!r}: patches are parts of images, and a label of a whole image ({kinds}) need not hold "
                "for a part. Use whole images (preprocess.size, and patches as large), or segmentation tasks alone."
            )
            raise ConfigError(msg)
        check_patches(name, self.store, self.patches, self.cohort.cases, drawn)

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
        if self.patches is None and self.cohort.proposals is None:
            return mask_targets(cases, task, self.store)
        present = torch.tensor([task.head in case.targets for case in cases], dtype=torch.bool)
        read = self.cohort.proposals.mask if self.cohort.proposals else partial(_stored_mask, self.store, task.head)
        return self._cut(cases, corners, read, present, IGNORED, np.int64), present

    def weight(self, cases: Sequence[Case], corners: Sequence[Corner] = ()) -> Tensor | None:
        """Return the cases' weights (B,); of proposed masks what each element counts for, (B, *S); or None."""
        whole = super().weight(cases)
        if self.cohort.proposals is None or not self.masked:
            return whole
        present = torch.tensor([self.masked[0].head in case.targets for case in cases], dtype=torch.bool)
        each = self._cut(cases, corners, self.cohort.proposals.weight, present, 0, np.float32)
        return each if whole is None else each * whole.reshape(-1, *[1] * (each.ndim - 1))

    def _cut(
        self,
        cases: Sequence[Case],
        corners: Sequence[Corner],
        read: Callable[[str, tuple[slice, ...]], npt.NDArray[Any]],
        present: Tensor,
        outside: float,
        dtype: type[np.generic],
    ) -> Tensor:
        """Return (B, *S) of what `read` gives for each case's patch, or for the whole of it."""
        size = self.patches.size if self.patches else self.store.shape[1:]
        out = np.zeros((len(cases), *size), dtype)
        for i, case in enumerate(cases):
            corner = corners[i] if corners else (0,) * len(size)
            if present[i]:
                out[i] = read_cut(self.store, case.id, corner, size, partial(read, case.id), outside)
        return torch.from_numpy(out)

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
        ConfigError: a source contradicts itself, or is like one that is not there.
        DataError: a source has no cases, lacks a case in its store, or holds a wrong target; or a case has no
            partner, or one on another grid.
    """

    def __init__(self, sources: Mapping[str, StreamSource], *, seed: int) -> None:
        self.sources = dict(sources)
        self.seed = seed
        for name, source in self.sources.items():
            source.check(name)
        self._pairs = {name: self._paired(name, source) for name, source in self.sources.items() if source.like}

    def at(self, step: int) -> Mapping[str, Batch]:
        """Return one batch per stream for `step` (0, 1, ...)."""
        return {name: self._batch(name, source, step) for name, source in self.sources.items()}

    def _paired(self, name: str, source: StreamSource) -> Pairs:
        """Return the partners of a source that is like another, proven to lie where their cases lie."""
        leader = self.sources.get(source.like)
        if leader is None or leader.like:
            msg = f"stream {name!r} is to be like {source.like!r}; name a stream with an order of its own."
            raise ConfigError(msg)
        where = f"stream {name!r}"
        if source.another:
            pairs = other_cases(leader.cohort, source.cohort, source.match, source.another, where=where)
            if source.patches is None:
                return pairs  # whole images are compared, so they need not lie on one grid
        else:
            pairs = pair_cases(leader.cohort, source.cohort, source.match, where=where)
        check_grids(pairs, leader.store, source.store, where=where)
        return pairs

    def _partners(self, name: str, step: int, cases: Sequence[Case]) -> list[Case]:
        """Return a partner of each case; of several one is drawn."""
        pairs = self._pairs[name]
        seeds = self._seeds(name, "partner", step, 0, [case.id for case in cases])
        return [pairs[case.id][seed % len(pairs[case.id])] for case, seed in zip(cases, seeds, strict=True)]

    def _batch(self, name: str, source: StreamSource, step: int) -> Batch:
        leader, led = source.like or name, self.sources[source.like or name]
        lead = led.cases(self.seed, leader, step)
        corners = self._corners(leader, led, step, lead)
        cases = self._partners(name, step, lead) if source.like else lead
        ids = tuple(case.id for case in cases)
        stored = source.images(cases, corners)
        drawn_for = tuple(case.id for case in lead)
        draw = partial(
            self._draws, name if source.another else leader, source, step, drawn_for, shape=tuple(stored.shape[1:])
        )
        draws = draw(view=0)
        targets, present = source.numbers(cases)
        shown = source.augment.apply_batch(stored, draws)
        for task in source.masked:
            masks, present[task.head] = source.masks(cases, task, corners)
            targets[task.head] = source.augment.apply_batch(masks[:, None], draws, mask=True)[:, 0]
        views = []
        for view in range(1, source.views + 1):
            own = draw(view=view)
            how, of = source.view_augment or source.augment, shown if source.in_place else stored
            views.append(View(source.normalise(how.apply_batch(of, own)), tuple(own)))
        return Batch(
            image=source.normalise(shown),
            targets=targets,
            present=present,
            weight=self._weight(source, cases, corners, draws),
            spacing=source.spacing(cases),
            views=tuple(views),
            ids=ids,
            groups=tuple(case.group for case in cases),
        )

    @staticmethod
    def _weight(
        source: StreamSource, cases: Sequence[Case], corners: Sequence[Corner], draws: Sequence[Draw]
    ) -> Tensor | None:
        """Return the weights; those of elements move with the image."""
        weight = source.weight(cases, corners)
        if weight is None or weight.ndim == 1:
            return weight
        return source.augment.apply_batch(weight[:, None], draws, mask=True)[:, 0]

    def _corners(self, name: str, source: StreamSource, step: int, cases: Sequence[Case]) -> list[Corner]:
        """Return where each element's patch begins, none where whole images are used."""
        if source.patches is None:
            return []
        out = []
        for case, seed in zip(cases, self._seeds(name, "patch", step, 0, [case.id for case in cases]), strict=True):
            looked = source.masked if source.cohort.proposals is None else ()
            heads = [task.head for task in looked if task.head in case.targets]
            out.append(draw_corner(np.random.default_rng(seed), source.store, case.id, source.patches, heads))
        return out

    def _draws(
        self, name: str, source: StreamSource, step: int, ids: Sequence[str], *, shape: tuple[int, ...], view: int
    ) -> list[Draw]:
        """Return one augmentation for each element, an image of `shape` (C, *S)."""
        how = source.view_augment if view and source.view_augment else source.augment
        if not how.steps:
            return [{"steps": []}] * len(ids)
        seeds = self._seeds(name, "augment", step, view, ids)
        return [how.draw(np.random.default_rng(seed), shape) for seed in seeds]

    def _seeds(self, name: str, what: str, step: int, view: int, ids: Sequence[str]) -> Iterator[int]:
        """Yield a seed for each element, by its id and not by its neighbours or its place."""
        seen: Counter[str] = Counter()
        for case_id in ids:
            yield seed_for(self.seed, name, what, step, view, case_id, seen[case_id])
            seen[case_id] += 1


def _stored_mask(store: Store, head: str, name: str, inside: tuple[slice, ...]) -> npt.NDArray[np.int64]:
    return store.mask(name, head, inside)
