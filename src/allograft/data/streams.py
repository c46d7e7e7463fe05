"""Streams: named, endless batches, each a pure function of (seed, step).

Nothing is remembered between steps. The order of cases, the draws of every augmentation and so
the batch itself are derived from the seed, the stream's name and the step, so a run that stops
anywhere goes on exactly where it was, and recipes that share a seed see the same cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from allograft.core.errors import ConfigError
from allograft.core.seeds import seed_for
from allograft.data.case import Batch, Case, View
from allograft.data.partners import Pairs, check_grids, other_cases, pair_cases
from allograft.data.patch_stream import Corner, draw_corner
from allograft.data.stream_source import StreamSource
from allograft.data.transforms.transform import Draw

__all__ = ["StoreStreams", "StreamSource"]


class StoreStreams:
    """Batches from stores.

    Args:
        sources: by stream name.
        seed: of the run; the recipe is not part of it, so recipes see the same cases.

    Raises:
        ConfigError: a source contradicts itself, is like one that is not there, or a transform does nothing to it.
        DataError: a source has no cases, lacks a case in its store, or holds a wrong target; or a case has no
            partner, or one on another grid.
    """

    def __init__(self, sources: Mapping[str, StreamSource], *, seed: int) -> None:
        self.sources = {name: source.settled() for name, source in sources.items()}
        self.seed = seed
        for name, source in self.sources.items():
            source.check(name)
        self._pairs = {name: self._paired(name, source) for name, source in self.sources.items() if source.like}

    def at(self, step: int, *, rank: int = 0, world: int = 1) -> Mapping[str, Batch]:
        """Return one batch per stream for `step` (0, 1, ...).

        Args:
            step: which.
            rank: with `world`, the rank-th of `world` equal parts is made and returned, bit for bit that of the whole.
            world: processes that share the batch.

        Raises:
            ConfigError: a batch cannot be shared equally.
        """
        return {name: self._batch(name, source, step, (rank, world)) for name, source in self.sources.items()}

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

    def _batch(self, name: str, source: StreamSource, step: int, share: tuple[int, int]) -> Batch:
        leader, led = source.like or name, self.sources[source.like or name]
        lead = led.cases(self.seed, leader, step)
        # Of a share everything is drawn for the whole batch, as a case that comes twice has other draws each time.
        part = _part(name, len(lead), *share)
        corners = self._corners(leader, led, step, lead)[part]
        cases = (self._partners(name, step, lead) if source.like else lead)[part]
        ids = tuple(case.id for case in cases)
        stored = source.images(cases, corners)
        drawn_for = tuple(case.id for case in lead)
        draw = partial(
            self._draws, name if source.another else leader, source, step, drawn_for, shape=tuple(stored.shape[1:])
        )
        draws = draw(view=0)[part]
        targets, present = source.numbers(cases)
        shown = source.augment.apply_batch(stored, draws)
        for task in source.masked:
            masks, present[task.head] = source.masks(cases, task, corners)
            targets[task.head] = source.augment.apply_batch(masks[:, None], draws, mask=True)[:, 0]
        views = []
        for view in range(1, source.views + 1):
            own = draw(view=view)[part]
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


def _part(name: str, size: int, rank: int, world: int) -> slice:
    """Return the place of one of `world` equal shares."""
    if size % world:
        msg = f"stream {name!r}: {size} cases cannot be shared equally by {world} processes. Choose a multiple."
        raise ConfigError(msg)
    return slice(rank * size // world, (rank + 1) * size // world)
