"""Drawn store: a store whose cases got masks after it was built, from a person who labels while a study runs.

The store itself, its key and so the runs that were made of it stay as they are. Each new mask lies, with its image, in
a small store of one case beside it, which every run that asks for the case shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from allograft.core.errors import DataError
from allograft.data.cohort import Cohort
from allograft.data.store import Box, Store

__all__ = ["DrawnStore", "with_masks"]


@dataclass(frozen=True)
class DrawnStore(Store):
    """A store that reads the masks of some cases elsewhere.

    Args:
        drawn: stores of single cases, by id.
    """

    drawn: Mapping[str, Store] = field(default_factory=dict)

    def __reduce__(self) -> tuple[type[Store], tuple[Any, ...]]:
        """Travel to workers without the mapped arrays."""
        return DrawnStore, tuple(getattr(self, each.name) for each in fields(self))

    def mask(self, name: str, head: str, box: Box = ()) -> npt.NDArray[np.int64]:
        """Return the mask of a case, as `Store.mask`."""
        return self.drawn[name].mask(name, head, box) if name in self.drawn else super().mask(name, head, box)

    def masks(self, ids: Sequence[str], head: str) -> npt.NDArray[np.int64]:
        """Return the masks of `ids`, as `Store.masks`."""
        found = super().masks(ids, head)
        for i, name in enumerate(ids):
            if name in self.drawn:
                found[i] = self.drawn[name].mask(name, head)
        return found

    def has_mask(self, name: str, head: str) -> bool:
        """Tell whether a case has a mask of `head` by now."""
        return self.drawn[name].has_mask(name, head) if name in self.drawn else super().has_mask(name, head)

    def places(self, name: str, head: str) -> Mapping[int, npt.NDArray[np.uint32]]:
        """Return flat positions of the elements of each class, as `Store.places`."""
        return self.drawn[name].places(name, head) if name in self.drawn else super().places(name, head)


def with_masks(store: Store, cohort: Cohort) -> DrawnStore:
    """Return a store with the masks of cases that had none when it was built.

    Args:
        store: holds the cases; what was drawn for others before stays.
        cohort: the cases with their masks as targets.

    Raises:
        DataError: a case is not in the store, its mask does not lie on its image's grid, or its image is another by
            now; names the case.
    """
    drawn = dict(store.drawn) if isinstance(store, DrawnStore) else {}
    for case in cohort:
        one = Store.build(replace(cohort, cases=(case,)), store.index.preprocess, store.path.parent)
        if one.placement(case.id) != store.placement(case.id):
            msg = f"case {case.id!r}: its image is no longer the one that {store.path} was built of. Undo the change."
            raise DataError(msg)
        drawn[case.id] = one
    own = {each.name: getattr(store, each.name) for each in fields(Store)}
    return DrawnStore(**own, drawn=drawn)
