"""FeatureStreams: batches of cached encoder levels instead of images, in the very same order of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from allograft.core.errors import DataError
from allograft.data.case import Batch
from allograft.data.roster import Roster

__all__ = ["FeatureSource", "FeatureStreams"]


@dataclass(frozen=True, kw_only=True)
class FeatureSource(Roster):
    """One stream of features.

    Args:
        ids: the cases of the rows of `levels`; at least those of the cohort.
        levels: what the frozen encoder gave, each (N, c, *s).
    """

    ids: tuple[str, ...]
    levels: tuple[Tensor, ...]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each case."""
        return {name: i for i, name in enumerate(self.ids)}


class FeatureStreams:
    """Batches whose `image` is a tuple of levels, for recipes whose encoder is frozen.

    With the seed, stream names, cohort and batch of a `StoreStreams`, step for step the same cases.

    Args:
        sources: by stream name.
        seed: of the run.

    Raises:
        DataError: a case has no features, or levels and ids differ in number.
    """

    def __init__(self, sources: Mapping[str, FeatureSource], *, seed: int) -> None:
        self.sources = dict(sources)
        self.seed = seed
        for name, source in self.sources.items():
            source.check(name)
            lengths = {len(source.ids), *(len(level) for level in source.levels)}
            missing = set(source.cohort.ids) - set(source.ids)
            if len(lengths) != 1 or missing:
                msg = (
                    f"stream {name!r}: {len(source.ids)} ids, levels of {[len(x) for x in source.levels]} rows, "
                    f"{len(missing)} cases without features. Compute the feature cache again."
                )
                raise DataError(msg)

    def at(self, step: int) -> Mapping[str, Batch]:
        """Return one batch per stream for `step` (0, 1, ...)."""
        return {name: self._batch(name, source, step) for name, source in self.sources.items()}

    def _batch(self, name: str, source: FeatureSource, step: int) -> Batch:
        cases = source.cases(self.seed, name, step)
        rows = torch.tensor([source.row_of[case.id] for case in cases])
        targets, present = source.numbers(cases)
        return Batch(
            image=tuple(level[rows] for level in source.levels),
            targets=targets,
            present=present,
            weight=source.weight(cases),
            ids=tuple(case.id for case in cases),
        )
