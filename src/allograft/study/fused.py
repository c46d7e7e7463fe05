"""Fused: what fusions of a study's runs were found to be worth, and where networks look, as kept with it. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence

from allograft.study.compared import Fused
from allograft.study.heat import looked
from allograft.study.outcome import RunKey
from allograft.study.pointing import read_pointing
from allograft.study.store import RunStore
from allograft.study.summary import Table

__all__ = ["FUSIONS", "with_kept"]

FUSIONS = "fusions"
"""Folder of a study: one file a fusion."""


def with_kept(
    found: tuple[Table | None, list[str]], store: RunStore, finished: Sequence[RunKey]
) -> tuple[Table | None, list[str]]:
    """Return a table with the heat maps and fusions that lie in the study's folder, and what a reader must know.

    Args:
        found: of one data set and label fraction, None where nothing can be compared; and what is said of it.
        store: of the study.
        finished: runs of the table, which a fusion of today would be made of; others make it out of date.
    """
    table, said = found
    if table is None:
        return found
    fused: list[Fused] = []
    outdated: list[Fused] = []
    known = {key.id for key in finished}
    for path in sorted((store.folder / FUSIONS).glob("*.json")):
        for one in map(Fused.model_validate, json.loads(path.read_text(encoding="utf-8"))):
            if (one.dataset, one.label_fraction) == (table.dataset, table.label_fraction):
                (fused if known.issuperset(one.runs) else outdated).append(one)
    recipes = [recipe.name for recipe in table.recipes]
    kept = {
        "fused": tuple(fused),
        "looked": looked(store, finished, recipes),
        "pointing": read_pointing(store, finished, recipes, table.unit),
    }
    said = [
        *said,
        *(f'fusion "{one.name}": made of runs that the study no longer has; fuse again.' for one in outdated),
    ]
    return table.model_copy(update=kept), said
